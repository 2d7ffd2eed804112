"""Who gained and who lost in a transaction, each amount against what is usual for its token.

The sender acts through contracts: those that he creates are his. A target that few have called may be his
tool as well as his victim, so the flow is read both ways and the worse reading counts.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from blockscan.chains.entry_points import ENTRY_POINTS
from blockscan.detect.fact import (
    EACH,
    ESTABLISHED,
    MEASURED,
    Fact,
    Facts,
    amount_in_words,
    by_value,
    known_to_others,
    pays,
    rarity_of,
    share_in_words,
    worst_of,
)
from blockscan.detect.flow import CREATES, ZERO, Frames, Transfer, noticed_by, shares_lost
from blockscan.detect.habits import in_words
from blockscan.detect.history import History, asked_by, unsigned_losers
from blockscan.transaction import CallKind, Transaction

Side = frozenset[str]

_BALANCE_OF = bytes.fromhex("70a08231")


def own_side(frames: Frames, transaction: Transaction) -> Side:
    """Who acts for the sender for sure: himself, whoever signs, and the contracts that he creates.

    What comes into being in a bundle is not its sender's.
    """
    if transaction.root.target in ENTRY_POINTS:
        return frozenset({transaction.sender})
    created = {call.target for call in frames.calls if call.kind in CREATES and call.target}
    return frozenset({transaction.sender, *transaction.root.accounts, *created})


def possible_tool(transaction: Transaction, history: History) -> Side:
    """The target, where hardly anybody has called it before."""
    target = transaction.root.target
    if target and min(history.seen("address", target), history.seen("callers", target)) < ESTABLISHED - 1:
        return frozenset({target})
    return frozenset()


def gains_and_losses(frames: Frames, transaction: Transaction, history: History) -> Facts:
    """The facts of the flow of value within one transaction."""
    own = own_side(frames, transaction)
    sides = dict.fromkeys((own, own | possible_tool(transaction, history)))
    return worst_of(_seen_from(side, frames, transaction, history) for side in sides)


def _seen_from(own: Side, frames: Frames, transaction: Transaction, history: History) -> Facts:
    """The same where `own` acts for the sender and nobody else does.

    Solana tells balances: what share of one was lost says more there than how unusual the amount was. Prices
    move, and every swap is a gain.
    """
    called = {call.caller for call in frames.calls} | {call.target for call in frames.calls if call.data}
    robbed = unsigned_losers(frames, transaction)
    called |= {each for each in robbed if history.seen("unsigned", each) >= ESTABLISHED}
    came = {(each.taker, each.asset): each.node for each in reversed(frames.transfers)}
    went = {(each.giver, each.asset): each.node for each in reversed(frames.transfers)}
    net = frames.balances()
    gained: dict[str, int] = defaultdict(int)
    gainers: dict[str, list[tuple[int, str]]] = defaultdict(list)
    lost, taken = [Fact(0.0)], list[Fact]()
    for (holder, asset), amount in net.items():
        if holder in own:
            gained[asset] += amount
            if amount > 0:
                gainers[asset].append((amount, holder))
        elif amount >= 0 or holder in (asset, ZERO):
            continue
        elif holder in called:
            lost.append(_loss(holder, asset, -amount, went[holder, asset], history))
        elif holder in robbed or (holder.startswith("0x") and history.amounts("amount", asset) >= MEASURED):
            taken.append(_amount(asset, -amount, went[holder, asset], history, f"from {holder}"))
    if transaction.root.kind is CallKind.INSTRUCTION:
        gained, lost = {}, [Fact(0.0)]
    gains = [
        _amount(
            asset, x, came[max(gainers[asset])[1], asset], history, _gained_by(gainers[asset], transaction)
        )
        for asset, x in gained.items()
        if x > 0
    ]
    gave = [pair for pair, amount in net.items() if amount < 0]
    known = known_to_others(noticed_by(frames), gave, own)
    paid = sum(x < 0 and pays(asset, history, noticed=asset in known) for asset, x in gained.items())
    emptied_of_others = _emptied(transaction, lambda owner: owner not in own)
    best = max(gains, key=by_value, default=Fact(0.0))
    largest = (_moved(each, frames, history) for each in frames.transfers)
    return {
        "gain": best,
        "free_gain": Fact(0.0) if paid else best,
        "more_in_than_out": best._replace(value=len(gains) / (1 + paid)),
        "loss": max(lost, key=by_value),
        "bystander_loss": max(taken, key=by_value, default=Fact(0.0))._replace(
            value=sum(EACH + fact.value for fact in taken)
        ),
        "drained": max(_drained(frames, net, own, called), emptied_of_others, key=by_value),
        "emptied": _emptied(transaction, own.__contains__),
        "largest_transfer": max(largest, key=by_value, default=Fact(0.0)),
    }


def _gained_by(gainers: Sequence[tuple[int, str]], transaction: Transaction) -> str:
    """Who of the sender's side gained, by amount and address: the one that gained most, and how many more."""
    (_, most), root = max(gainers), transaction.root
    if most == transaction.sender:
        name = "the sender"
    elif most == root.target and root.kind not in CREATES:
        name = f"the target {most}"
    else:
        name = f"{most} (created here)"
    more = f" and {len(gainers) - 1} more of that side" if len(gainers) > 1 else ""
    return f"gained by {name}{more}"


def _amount(asset: str, amount: int, node: int, history: History, what: str) -> Fact:
    """How rare so large a transfer of the token is, in decades of probability."""
    return Fact(rarity_of(asset, amount, history), node, f"{amount_in_words(amount, asset)} {what}")


def _moved(transfer: Transfer, frames: Frames, history: History) -> Fact:
    """How rare so large a transfer is for the function that asked for it, or for the token."""
    by, to = asked_by(transfer, frames), f"to {transfer.taker}"
    if history.amounts("moved", *by, transfer.asset) < MEASURED:
        return _amount(transfer.asset, transfer.amount, transfer.node, history, to)
    rarity = history.rarity("moved", *by, transfer.asset, amount=transfer.amount)
    text = f"{amount_in_words(transfer.amount, transfer.asset)} {to} by {in_words(by)}"
    return Fact(rarity, transfer.node, text)


def _loss(holder: str, asset: str, amount: int, node: int, history: History) -> Fact:
    """How rare so large a loss is for this holder, or for the token where the holder is new."""
    if history.amounts("outflow", holder, asset) < MEASURED:
        return _amount(asset, amount, node, history, f"lost by {holder}")
    rarity = history.rarity("outflow", holder, asset, amount=amount)
    return Fact(rarity, node, f"{amount_in_words(amount, asset)} lost by {holder}")


def _drained(frames: Frames, net: Mapping[tuple[str, str], int], own: Side, called: set[str | None]) -> Fact:
    """The largest share of a balance that a called contract lost, where the trace asks for balances."""
    read = {}
    for node, (call, ok) in enumerate(zip(frames.calls, frames.ok, strict=True)):
        if (
            ok
            and call.target
            and call.data[:4] == _BALANCE_OF
            and len(call.data) >= 36
            and len(call.output) == 32
        ):
            read["0x" + call.data[16:36].hex(), call.target] = int.from_bytes(call.output), node
    since = _gained_until({pair: node for pair, (_, node) in read.items()}, frames)
    shares = [Fact(0.0)]
    for (holder, asset), (balance, node) in read.items():
        lost = -net.get((holder, asset), 0)
        if lost > 0 and holder in called and holder not in own:
            # What it had at first; a token that keeps other books may say less than what was moved.
            share = lost / max(balance - since[holder, asset], lost)
            shares.append(Fact(share, node, f"{share_in_words(share)} of the {asset} of {holder}"))
    return max(shares, key=by_value)


def _gained_until(nodes: Mapping[tuple[str, str], int], frames: Frames) -> dict[tuple[str, str], int]:
    """What each (holder, asset) had gained, less what it gave, when its frame was entered."""
    found = dict.fromkeys(nodes, 0)
    for place, each in enumerate(frames.transfers):
        for holder, amount in ((each.giver, -each.amount), (each.taker, each.amount)):
            pair = holder, each.asset
            if pair in found and place < frames.moved[nodes[pair]]:
                found[pair] += amount
    return found


def _emptied(transaction: Transaction, counts: Callable[[str], bool]) -> Fact:
    """The shares that balances of the owners that count lost together (Solana), shown by the largest."""
    lost = [
        Fact(each.share, 0, f"{share_in_words(each.share)} of the {each.token} in an account of {each.owner}")
        for each in shares_lost(transaction.root)
        if counts(each.owner)
    ]
    return max(lost, key=by_value, default=Fact(0.0))._replace(value=sum(fact.value for fact in lost))
