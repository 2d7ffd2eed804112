"""What benign transactions of the past showed: who calls whom with which function, and how much moves.

Nothing here is learned by gradient; it is counted in one pass. A language model generalises, and so cannot
say "never before"; these counts can. They are kept as hashes (blockscan.detect.tally), so their size is a
matter of how many different things a chain does, not of how many transactions it has; but most long input,
see sent_in, is another each time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from blockscan.chains.solana_layouts import SYSTEM
from blockscan.detect.authority import minted_in
from blockscan.detect.flow import (
    LARGEST,
    Frames,
    Transfer,
    created_by,
    ends_of,
    entries_of,
    frames_of,
    payees_of,
)
from blockscan.detect.habits import (
    Function,
    company_of,
    function_of,
    reports_of,
    roles_of,
    sequences_of,
)
from blockscan.detect.tally import (
    SIGNED_BINS_PER_DECADE,
    Sums,
    Tally,
    amount_bin,
    count_all,
    key_of,
    signed_bin,
)
from blockscan.transaction import Call, CallKind, Transaction

KINDS = (
    "edge",
    "caller",
    "callee",
    "callers",
    "function",
    "use",
    "users",
    "address",
    "amount",
    "moved",
    "outflow",
    "argument",
    "unsigned",
    "company",
    "sequence",
    "role",
    "report",
    "paid",
    "made",
    "sent",
)
"""What is counted, per transaction that shows it: edge (caller, callee); caller and callee of any edge;
callers: different callers of a callee; function (callee, selector); use (function, caller); users: different
callers of a function; address: target of a call, or sender. By size: amount, transfers per asset; moved,
transfers per (function that asks for them, asset); outflow, net losses per (holder, asset); argument, numbers
per ("", name of a function on whatever contract, place in the calldata). On Solana, where every owner signs:
unsigned, holders that lost something without their signature. Of names (blockscan.detect.habits): company
(name, name); sequence (name that another follows) and (name, name); role (name, place) and (name, place,
role); report (event, place) and (event, place, what its number is). By payer: paid, different payees of
(payer), and (payer, payee) and (payer, how the payee looks) of each, see blockscan.detect.lookalikes. made:
(contract) that was created, and (contract, sender) who had it created. Of long input: sent, (chain, target,
name, its digest), (name), and (name, AGAIN) of what had been sent before, see sent_in."""
AGAIN = "again"
LONG = 7
"""Words of input from which on two that are alike are no chance: a signature takes three of them."""

Sent = tuple[str, str, bytes, str]
"""Chain, target, name of the function, and digest of the input that a transaction sent to it."""

Argument = tuple[bytes, int]
"""Name of a function and place in its calldata."""
_WORD = 32
ARGUMENTS = 8
"""Words of calldata looked at in each call; what comes later is mostly the inside of arrays."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Frozen counts by KINDS, and the number of transactions they are from.

    `until` is by chain the last block that was counted, or that the model beside them was trained on. `books`
    are what contracts that were created in these transactions hold, and from whom, see flow.entries_of, and
    what was minted of each token (Solana).
    """

    tallies: dict[str, Tally]
    transactions: int
    until: Mapping[str, int] = field(default_factory=dict)
    books: Sums = field(default_factory=lambda: Sums.of({}))

    def seen(self, kind: str, *parts: str | bytes | int) -> int:
        """In how many transactions of the past something was seen."""
        return self.tallies[kind].count(key_of(*parts))

    def rarity(self, kind: str, *parts: str | bytes | int, amount: int) -> float:
        """-log10 of the share of past amounts of this kind that were at least so large; 0 where none were."""
        return -self.tallies[kind].log10_p(key_of(*parts), amount_bin(amount))

    def argument_rarity(self, argument: Argument, here: int, *, below: bool) -> float:
        """The same of an argument in bin `here` (signed_bin), or of those at most so large."""
        tally, key = self.tallies["argument"], key_of("", *argument)
        log10_p = tally.log10_p_below if below else tally.log10_p
        return -log10_p(key, here, per_decade=SIGNED_BINS_PER_DECADE)

    def amounts(self, kind: str, *parts: str | bytes | int) -> int:
        """How many amounts of this kind the past had."""
        return self.tallies[kind].amounts(key_of(*parts))

    def minted(self, mint: str) -> float:
        """How much of a token of Solana the past has seen minted, in smallest units."""
        return self.books.total(key_of("minted", mint))


def history_of(transactions: Iterable[Transaction], base: History | None = None) -> History:
    """Count in one pass; order changes nothing but the books, which want that of time.

    `base` has seen earlier contracts created, whose books go on here.
    """
    counts: dict[str, dict[int, int]] = {kind: {} for kind in KINDS}
    number, until = 0, dict[str, int]()
    books: dict[int, int] = {}
    for transaction in transactions:
        number += 1
        if transaction.block_number is not None:
            last = until.get(transaction.chain, 0)
            until[transaction.chain] = max(last, transaction.block_number)
        frames = frames_of(transaction)
        _count_calls(counts, frames, transaction)
        _count_amounts(counts, frames)
        _count_habits(counts, frames, transaction)
        _count_payees(counts["paid"], frames, transaction)
        count_all(counts["unsigned"], map(key_of, unsigned_losers(frames, transaction)))
        for contract in created_by(frames):
            count_all(counts["made"], (key_of(contract), key_of(contract, transaction.sender)))
        _book(books, frames, counts["made"], base)
        _count_sent(counts["sent"], transaction, base)
        for mint, (amount, _) in minted_in(frames).items():
            books[key_of("minted", mint)] = books.get(key_of("minted", mint), 0) + amount
    return History({kind: Tally.of(counts[kind]) for kind in KINDS}, number, until, Sums.of(books))


def edges_of(frames: Frames) -> dict[tuple[str, str], int]:
    """Every (caller, callee) pair with the first frame that shows it."""
    found: dict[tuple[str, str], int] = {}
    for node, call in enumerate(frames.calls):
        if call.target is not None:
            found.setdefault((call.caller, call.target), node)
    return found


def functions_of(frames: Frames) -> dict[Function, int]:
    """Every function that ran with the first frame that shows it."""
    found: dict[Function, int] = {}
    for node, call in enumerate(frames.calls):
        found.setdefault(function_of(call), node)
    return found


def uses_of(frames: Frames) -> dict[tuple[Function, str], int]:
    """Every (function, its caller) pair with the first frame that shows it."""
    found: dict[tuple[Function, str], int] = {}
    for node, call in enumerate(frames.calls):
        found.setdefault((function_of(call), call.caller), node)
    return found


def asked_by(transfer: Transfer, frames: Frames) -> Function:
    """The function that made a transfer happen: what called the token, or sent the ether."""
    return function_of(frames.calls[max(frames.parent[transfer.node], 0)])


def arguments_of(frames: Frames) -> dict[tuple[Argument, int], int]:
    """The numbers in calldata: every (place, bin) with the first frame that shows it.

    Words that are an address, a hash or another number of more than 128 bits are no amounts and left out.
    """
    found: dict[tuple[Argument, int], int] = {}
    for node, call in enumerate(frames.calls):
        _, selector = function_of(call)
        if len(selector) != 4 or call.kind is CallKind.INSTRUCTION:
            continue
        for place in range(min((len(call.data) - 4) // _WORD, ARGUMENTS)):
            number = argument_at(call, place)
            if abs(number) < LARGEST:
                found.setdefault(((selector, place), signed_bin(number)), node)
    return found


def argument_at(call: Call, place: int) -> int:
    """The signed number at a place of the calldata."""
    begin = 4 + place * _WORD
    return int.from_bytes(call.data[begin : begin + _WORD], signed=True)


def sent_in(transaction: Transaction) -> Sent | None:
    """What a transaction sent to the contract that it called, if that is long and did not fail.

    None where the block is not known: with a number the same transaction would be called a replay of itself.
    """
    root = transaction.root
    if root.kind is not CallKind.CALL or not root.ok or not root.target or len(root.data) < 4 + LONG * _WORD:
        return None
    if transaction.block_number is None:
        return None
    return transaction.chain, root.target, root.data[:4], blake2b(root.data, digest_size=16).hexdigest()


def unsigned_losers(frames: Frames, transaction: Transaction) -> set[str]:
    """Holders on Solana that end up with fewer tokens without having signed; lamports follow rent."""
    if transaction.root.kind is not CallKind.INSTRUCTION:
        return set()
    lost = {holder for (holder, asset), net in frames.balances().items() if net < 0 and asset != SYSTEM}
    return lost - {transaction.sender, *transaction.root.accounts}


def _count_calls(counts: dict[str, dict[int, int]], frames: Frames, transaction: Transaction) -> None:
    edges, functions = edges_of(frames), functions_of(frames)
    new = [(caller, callee) for caller, callee in edges if key_of(caller, callee) not in counts["edge"]]
    count_all(counts["callers"], (key_of(callee) for _, callee in new))
    count_all(counts["edge"], (key_of(*edge) for edge in edges))
    uses = uses_of(frames)
    fresh = [function for function, caller in uses if key_of(*function, caller) not in counts["use"]]
    count_all(counts["users"], (key_of(*function) for function in fresh))
    count_all(counts["use"], (key_of(*function, caller) for function, caller in uses))
    count_all(counts["caller"], (key_of(caller) for caller in {edge[0] for edge in edges}))
    count_all(counts["callee"], (key_of(callee) for callee in {edge[1] for edge in edges}))
    count_all(counts["function"], (key_of(*function) for function in functions))
    count_all(counts["address"], (key_of(one) for one in {transaction.sender, *(edge[1] for edge in edges)}))


def _count_amounts(counts: dict[str, dict[int, int]], frames: Frames) -> None:
    count_all(counts["amount"], (key_of(t.asset) + amount_bin(t.amount) for t in frames.transfers))
    moved = ((asked_by(each, frames), each) for each in frames.transfers)
    count_all(counts["moved"], (key_of(*by, each.asset) + amount_bin(each.amount) for by, each in moved))
    arguments = arguments_of(frames)
    count_all(counts["argument"], (key_of("", *argument) + here for argument, here in arguments))
    losses = ((holder, asset, -net) for (holder, asset), net in frames.balances().items() if net < 0)
    count_all(counts["outflow"], (key_of(holder, asset) + amount_bin(lost) for holder, asset, lost in losses))


def _book(books: dict[int, int], frames: Frames, made: Mapping[int, int], base: History | None) -> None:
    """Enter what moved in the books of contracts whose creation was seen: nobody knows what others had."""
    for holder, entry, amount in entries_of(frames.transfers):
        if key_of(holder) in made or (base is not None and base.seen("made", holder)):
            key = key_of(*entry)
            books[key] = books.get(key, 0) + amount


def merged(one: History, other: History) -> History:
    """The counts of two histories together.

    Callers of a contract or function that both saw are counted twice among its different callers.
    """
    tallies = {kind: tally.plus(other.tallies[kind]) for kind, tally in one.tallies.items()}
    until, books = latest(one.until, other.until), one.books.plus(other.books)
    return History(tallies, one.transactions + other.transactions, until, books)


def latest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The later of two last blocks, by chain."""
    return {chain: max(one.get(chain, 0), other.get(chain, 0)) for chain in {*one, *other}}


def _count_habits(counts: dict[str, dict[int, int]], frames: Frames, transaction: Transaction) -> None:
    sequences, roles = sequences_of(frames), roles_of(frames, transaction)
    count_all(counts["company"], (key_of(*one, *other) for one, other in company_of(frames)))
    count_all(counts["sequence"], (key_of(*before) for before in {before for before, _ in sequences}))
    count_all(counts["sequence"], (key_of(*before, *name) for before, name in sequences))
    count_all(counts["role"], (key_of(*name, place) for name, place in {role[:2] for role in roles}))
    count_all(counts["role"], (key_of(*name, place, role) for name, place, role in roles))
    reports = reports_of(frames)
    count_all(counts["report"], (key_of(*place) for place in {report[:2] for report in reports}))
    count_all(counts["report"], (key_of(*report) for report in reports))


def _count_payees(counts: dict[int, int], frames: Frames, transaction: Transaction) -> None:
    pairs = payees_of(frames.transfers, {transaction.sender})
    for payer, payee in (pair for pair in pairs if key_of(*pair) not in counts):
        count_all(counts, (key_of(payer), key_of(payer, payee), key_of(payer, ends_of(payee))))


def _count_sent(counts: dict[int, int], transaction: Transaction, base: History | None) -> None:
    sent = sent_in(transaction)
    if sent is not None:
        _, _, name, _ = sent
        again = key_of(*sent) in counts or (base is not None and base.seen("sent", *sent) > 0)
        count_all(counts, (key_of(*sent), key_of(name), *([key_of(name, AGAIN)] if again else [])))
