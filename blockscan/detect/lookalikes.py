"""Payments to an address that looks like one that was paid before: address poisoning.

A thief finds a key whose address begins and ends like that of somebody whom the victim pays, gets it into
the victim's list of transactions, and waits for it to be copied from there (Tsuchiya et al. 2025, USENIX
Security). The payment itself is as ordinary as any. Whom an account paid is counted by the history of the
past, and known of its last minutes from what it gave there (blockscan.detect.accounts).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Set

from blockscan.detect.fact import Fact, by_value
from blockscan.detect.flow import Transfer, ends_of, likeness, payees_of
from blockscan.detect.history import History


def lookalike(
    before: Iterable[Transfer], now: Iterable[Transfer], payers: Set[str], history: History
) -> Fact:
    """Decades of how unlikely it is that an address never paid looks by chance like one that was.

    Chance has one try for each pair of an address paid now for the first time and one paid before.

    Args:
        before: what moved in the payers' transactions of the last minutes.
        now: what moves in this one.
        payers: who acts for the sender.
        history: knows whom he paid in the past.
    """
    lately = payees_of(before, payers)
    known: dict[str, set[str]] = defaultdict(set)
    for payer, payee in lately:
        known[payer].add(payee)
    looks = {payer: set(map(ends_of, payees)) for payer, payees in known.items()}
    strangers: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for (payer, payee), node in payees_of(now, payers).items():
        if (payer, payee) not in lately and not history.seen("paid", payer, payee):
            strangers[payer].append((payee, node))
    facts = [Fact(0.0)]
    for payer, paid in strangers.items():
        pairs = len(paid) * (1 + history.seen("paid", payer) + len(known[payer]))
        for payee, node in paid:
            chance = max(likeness(payee) - math.log10(pairs), 0.0)
            if history.seen("paid", payer, ends_of(payee)) or ends_of(payee) in looks.get(payer, ()):
                text = f"{payee} begins and ends like an address that {payer} paid before"
                facts.append(Fact(chance, node, text))
    return max(facts, key=by_value)
