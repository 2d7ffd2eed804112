"""Why a transaction was judged so: its strongest values, one line for a person, and the painted tree.

Readings join what the model said with texts that only the tokenizer can give. All text comes from a
chain, so everything that leaves here went through `safe_text`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.chains.solana_layouts import decode_instruction
from blockscan.detect.fact import Fact
from blockscan.detect.score import SIZE_PARTS
from blockscan.findings import Evidence, Frame
from blockscan.findings_wording import FACT_REASONS, WHOLE
from blockscan.safetext import safe_text
from blockscan.tokens import Field, Modality, TokenLosses, TokenSequence
from blockscan.transaction import Call, CallKind, Log, TraceSource, TraceStatus, Transaction, Visit, walk

MOST_EVIDENCE = 12
SHOWN_P = 0.05  # a painted tree shows the values of each frame that are rarer
RARE_P = 1e-3
_LN10 = math.log(10)
_WORD, _DISCRIMINATOR = 32, 8
_LOG_FIELDS = (Field.EMITTER, Field.TOPIC0, Field.TOPIC, Field.LOG_DATA)
_LOG_MARKS = ("LOG", "PRINT", "EVENT", "BALANCE")
"""How the readable texts of the marks begin that open a log."""
_FIELD_WORDS = {
    Field.MARK: "structure",
    Field.KIND: "kind of call",
    Field.CALLER: "caller",
    Field.TARGET: "call to",
    Field.SELECTOR: "function",
    Field.VALUE: "value sent",
    Field.ARGUMENT: "argument",
    Field.OUTPUT: "return value",
    Field.ERROR: "error",
    Field.CODE: "contract code",
    Field.EMITTER: "event emitted by",
    Field.TOPIC0: "event",
    Field.TOPIC: "event parameter",
    Field.LOG_DATA: "event data",
}
# A Solana message calls nothing itself, and its logs are the balances that it changed.
_MESSAGE_WORDS = {
    Field.CALLER: "payer",
    Field.TARGET: "payer",
    Field.ARGUMENT: "signer",
    Field.VALUE: "fee",
    Field.EMITTER: "token of a balance change",
    Field.TOPIC: "account of a balance change",
    Field.LOG_DATA: "balance change",
}
_INSTRUCTION_WORDS = {
    Field.KIND: "outcome of an instruction",
    Field.TARGET: "program",
    Field.SELECTOR: "instruction",
    Field.VALUE: "lamports sent",
    Field.LOG_DATA: "log",
}
_LONGEST_FACT = 240
"""Characters of what a fact found: three addresses of Solana, and the words between them."""
_DEEDS = (
    "reentry", "bystander_loss", "drained", "withdrawn", "loss", "emptied", "overdrawn", "joint_gain",
    "free_gain", "gain",
)  # fmt: skip
"""Facts of what is done to whom: whose loss it is, whose gain."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A scored transaction with the words for it.

    token_p float64 (T,): see FieldCalibration.p_values. unit_text: the true value of a unit of
    `sequence.unit`, readable. piece_text: a vocabulary id as text. least: see FieldCalibration.least.
    """

    sequence: TokenSequence
    losses: TokenLosses
    token_p: NDArray[np.float64]
    unit_text: Callable[[int], str]
    piece_text: Callable[[int], str]
    least: Callable[[Field, Modality], float]


def strongest_evidence(
    reading: Reading, facts: Sequence[Evidence] = (), *, limit: int = MOST_EVIDENCE
) -> tuple[Evidence, ...]:
    """At most `limit` values and `facts`, rarest first.

    Of equally rare values the more surprising comes first, then the earlier.
    """
    values = [_evidence(reading, token) for token in _rarest_tokens(reading)[:limit]]
    return tuple(sorted([*facts, *values], key=lambda each: each.p_value)[:limit])


def fact_evidence(
    facts: Mapping[str, Fact], rarities: Mapping[str, float], least: Mapping[str, float]
) -> tuple[Evidence, ...]:
    """The facts that are rarer than SHOWN_P among benign transactions of the same size, rarest first.

    Args:
        facts: from blockscan.detect.facts.facts_of.
        rarities: -log10 p by part, from ScoreModel.rarities; a part that is no fact is left out.
        least: the smallest p-value that can be shown by part, from ScoreModel.least.
    """
    found = [
        Evidence(
            node=facts[name].node,
            field=name,
            found=safe_text(facts[name].found, limit=_LONGEST_FACT),
            expected=(),
            surprise=rarity * _LN10,
            p_value=10.0**-rarity,
            least=least[name],
        )
        for name, rarity in rarities.items()
        if name in facts and 10.0**-rarity <= SHOWN_P
    ]
    return tuple(sorted(found, key=lambda each: each.p_value))


def reason(transaction: Transaction, evidence: Sequence[Evidence], *, after_others: bool = False) -> str:
    """One line for a person: which field, what was found and expected, where in the call tree, how rare.

    `after_others`: a good part of the value comes from what the account did just before.
    """
    why = "untraceable" if transaction.source is TraceSource.RECEIPT else "trace cut off at a size cap"
    cut = f"{why}; " if transaction.status is TraceStatus.TRUNCATED else ""
    if after_others:
        cut += "follows unusual transactions of the same account; "
    if not evidence:
        return f"{cut}nothing in it could be scored"
    first = _leading(evidence)
    others = sum(each.p_value <= RARE_P for each in evidence if each is not first)
    more = f" (and {others} more rare value{'s' if others > 1 else ''})" if others else ""
    expected = f"; expected {' or '.join(first.expected[:2])}" if first.expected else ""
    place = "" if first.field in WHOLE else f", {_place(transaction, first.node)}"
    odd = "unusual" if first.p_value <= SHOWN_P else "nothing unusual by itself, rarest:"
    return f"{cut}{odd} {_words(transaction, first)} {first.found}{place}{expected}; {_rarity(first)}{more}"


def _leading(evidence: Sequence[Evidence]) -> Evidence:
    """The rarest, but for size where there is a rare fact besides: that it is large says nothing of how.

    How far beyond all benign ones a value lies is a guess, so of those that do one of _DEEDS comes first.
    """
    beyond = [each for each in evidence if each.extrapolated and each.field in _DEEDS]
    first = beyond[0] if beyond and evidence[0].extrapolated else evidence[0]
    if first.field not in SIZE_PARTS:
        return first
    rare = (each for each in evidence if each.field in FACT_REASONS and each.p_value <= RARE_P)
    return next((each for each in rare if each.field not in SIZE_PARTS), first)


def paint(transaction: Transaction, reading: Reading, facts: Sequence[Evidence] = ()) -> tuple[Frame, ...]:
    """Every call and log in execution order with its heat and its rare values.

    `facts` warm the call that shows each best; they stay with the transaction, whose facts they are.
    A log's frame has kind LOG, the `node` of its emitting call (also as `parent`) and one depth more
    than that call. Where the tokens do not tell the logs apart, what they say is put on the call.
    """
    visits = list(walk(transaction.root))
    row = _rows(visits, reading)
    heat = np.zeros(len(visits))
    scored = ~np.isnan(reading.token_p)
    np.maximum.at(heat, row[scored], _heat(reading.token_p[scored]))
    calls = [i for i, visit in enumerate(visits) if isinstance(visit.step, Call)]
    for fact in facts:
        heat[calls[fact.node]] = max(heat[calls[fact.node]], _heat(fact.p_value))
    evidence: dict[int, list[Evidence]] = {}
    for token in _rarest_tokens(reading):
        if reading.token_p[token] > SHOWN_P:
            break
        evidence.setdefault(int(row[token]), []).append(_evidence(reading, token))
    return tuple(
        _frame(visit, heat=float(heat[i]), evidence=tuple(evidence.get(i, ())))
        for i, visit in enumerate(visits)
    )


def _heat(p: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """0 for what is always so, 1 for one in ten thousand and less, 0 by rounding among them."""
    return np.minimum(1.0, -np.log10(np.maximum(p, 1e-300)) / 4)


def _rarest_tokens(reading: Reading) -> list[int]:
    """For each unit with a scored token the index of its rarest one; rarest unit first."""
    scored = np.flatnonzero(~np.isnan(reading.token_p))
    order = scored[np.lexsort((scored, -reading.losses.surprise[scored], reading.token_p[scored]))]
    _, first = np.unique(reading.sequence.unit[order], return_index=True)
    return [int(token) for token in order[np.sort(first)]]


def _evidence(reading: Reading, token: int) -> Evidence:
    sequence, losses = reading.sequence, reading.losses
    pieces = [int(piece) for piece in losses.expected[token] if piece >= 0 and piece != sequence.ids[token]]
    return Evidence(
        node=int(sequence.node[token]),
        field=Field(sequence.field[token]).name.lower(),
        found=safe_text(reading.unit_text(int(sequence.unit[token]))),
        expected=tuple(safe_text(reading.piece_text(piece)) for piece in pieces),
        surprise=float(losses.surprise[token]),
        p_value=float(reading.token_p[token]),
        least=reading.least(Field(sequence.field[token]), Modality(sequence.modality[token])),
    )


def _words(transaction: Transaction, evidence: Evidence) -> str:
    if evidence.field in FACT_REASONS:
        return FACT_REASONS[evidence.field]
    field = Field[evidence.field.upper()]
    if transaction.root.kind is not CallKind.INSTRUCTION:
        return _FIELD_WORDS[field]
    if field in (Field.TOPIC, Field.ARGUMENT) and evidence.found.isdecimal():
        return "number of accounts,"
    words = _INSTRUCTION_WORDS if evidence.node else _MESSAGE_WORDS
    return words.get(field, _FIELD_WORDS[field])


def _place(transaction: Transaction, node: int) -> str:
    found = next((v for v in walk(transaction.root) if v.node == node and isinstance(v.step, Call)), None)
    if found is None or not isinstance(found.step, Call):
        return f"in frame {node}"
    target = safe_text(found.step.target or "no address")
    if found.step.kind is CallKind.INSTRUCTION:
        return _instruction_place(found.step, found.depth)
    if not found.depth:
        return f"in the outermost call, to {target}"
    return f"in a {found.step.kind.value} {found.depth} deep, to {target}"


def _instruction_place(step: Call, depth: int) -> str:
    target = safe_text(step.target or "no program")
    if not depth:
        return f"in the message that {target} pays for"
    return f"in {_instruction_name(step) or 'an instruction'}, {depth} deep, of program {target}"


def _rarity(evidence: Evidence) -> str:
    """How rare it is by itself, as far as the benign ones that it was compared with can tell."""
    p, by = evidence.p_value, "by this alone " if evidence.field in FACT_REASONS else ""
    of = "" if evidence.field in SIZE_PARTS else " of its size"
    things = f"benign transactions{of}" if by else "such values of benign transactions"
    if evidence.extrapolated:
        return f"{by}beyond all {round(1 / evidence.least) - 1:,} {things}"
    return f"{by}about 1 in {1 / p:,.0f} {things}" if p <= 0.5 else f"{by}like most {things}"


def _rows(visits: Sequence[Visit], reading: Reading) -> NDArray[np.intp]:
    """For each token (T,) the index of the visit that it describes.

    The n-th mark of a log opens the n-th log, or the n-th value of field EMITTER where there are no marks;
    that holds only if there are as many as logs.
    """
    sequence = reading.sequence
    call_rows = np.array([i for i, visit in enumerate(visits) if isinstance(visit.step, Call)])
    log_rows = np.array([i for i, visit in enumerate(visits) if isinstance(visit.step, Log)], dtype=np.intp)
    row = call_rows[sequence.node]
    units = np.unique(sequence.unit[sequence.field == Field.MARK])
    marks = np.array([unit for unit in units if reading.unit_text(unit).startswith(_LOG_MARKS)], np.intp)
    emitters = np.unique(sequence.unit[sequence.field == Field.EMITTER])
    openings = marks if len(marks) == len(log_rows) else emitters
    if not len(log_rows) or len(openings) != len(log_rows):
        return row
    of_log = np.isin(sequence.field, _LOG_FIELDS) | np.isin(sequence.unit, openings)
    log = np.searchsorted(openings, sequence.unit[of_log], side="right") - 1
    row[of_log] = log_rows[np.maximum(log, 0)]
    return row


def _frame(visit: Visit, *, heat: float, evidence: tuple[Evidence, ...]) -> Frame:
    step = visit.step
    if isinstance(step, Log):
        topic = "0x" + step.topics[0].hex() if step.topics else _log_text(step)
        place, emitter = (visit.node, visit.parent, visit.depth + 1), safe_text(step.emitter)
        return Frame(*place, "LOG", "", emitter, topic, "", "", heat, evidence)
    if step.kind is CallKind.INSTRUCTION:
        selector = _instruction_name(step) if visit.depth else ""
    else:
        creates = step.kind in (CallKind.CREATE, CallKind.CREATE2)
        selector = "0x" + step.data[:4].hex() if len(step.data) >= 4 and not creates else ""
    return Frame(
        node=visit.node,
        parent=visit.parent,
        depth=visit.depth,
        kind=step.kind.value,
        caller=safe_text(step.caller),
        target=safe_text(step.target or ""),
        selector=selector,
        value=str(step.value),
        error=safe_text(step.error or ""),
        heat=heat,
        evidence=evidence,
    )


def _instruction_name(step: Call) -> str:
    """The name of a well-known program's instruction, else the bytes that its data begin with."""
    found = decode_instruction(step.target, step.data)
    if found is not None:
        return found[0].name
    return "0x" + step.data[:_DISCRIMINATOR].hex() if step.data else ""


def _log_text(log: Log) -> str:
    """What a Solana program printed, the change of an account's balance, or the beginning of event data."""
    if log.accounts and len(log.data) == 3 * _WORD:
        change, after, decimals = (
            int.from_bytes(log.data[place : place + _WORD], signed=True) for place in (0, _WORD, 2 * _WORD)
        )
        amounts = (f"{change:+,} to {after:,}", f"of {safe_text(log.accounts[0])}", f"{decimals} decimals")
        return f"balance {', '.join(amounts)}"
    if log.text:
        return safe_text(log.text)
    return "0x" + log.data[:_DISCRIMINATOR].hex() if log.data else ""
