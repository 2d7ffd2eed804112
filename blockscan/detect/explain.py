"""Why a transaction was judged so: its strongest values, one line for a person, and the painted tree.

Readings join what the model said with texts that only the tokenizer can give. All text comes from a
chain, so everything that leaves here went through `safe_text`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.findings import Evidence, Frame
from blockscan.safetext import safe_text
from blockscan.tokens import Field, TokenLosses, TokenSequence
from blockscan.transaction import Call, CallKind, Log, TraceStatus, Transaction, Visit, walk

MOST_EVIDENCE = 12
# A painted tree shows the values of each frame that are rarer than this.
SHOWN_P = 0.05
RARE_P = 1e-3
_LOG_FIELDS = (Field.EMITTER, Field.TOPIC0, Field.TOPIC, Field.LOG_DATA)
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


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A scored transaction with the words for it.

    token_p float64 (T,): token p-values, NaN where not scored. unit_texts: the true value of each unit,
    readable, indexed by `sequence.unit`. piece_text: a vocabulary id as text.
    """

    sequence: TokenSequence
    losses: TokenLosses
    token_p: NDArray[np.float64]
    unit_texts: Sequence[str]
    piece_text: Callable[[int], str]


def strongest_evidence(reading: Reading, *, limit: int = MOST_EVIDENCE) -> tuple[Evidence, ...]:
    """At most `limit` values, rarest first; of equally rare ones the more surprising, then the earlier."""
    return tuple(_evidence(reading, token) for token in _rarest_tokens(reading)[:limit])


def reason(transaction: Transaction, evidence: Sequence[Evidence]) -> str:
    """One line for a person: which field, what was found and expected, where in the call tree, how rare."""
    cut = "trace cut off at a size cap; " if transaction.status is TraceStatus.TRUNCATED else ""
    if not evidence:
        return f"{cut}nothing in it could be scored"
    first = evidence[0]
    others = sum(each.p_value <= RARE_P for each in evidence[1:])
    more = f" (and {others} more rare value{'s' if others > 1 else ''})" if others else ""
    expected = f"; expected {' or '.join(first.expected[:2])}" if first.expected else ""
    words = _FIELD_WORDS[Field[first.field.upper()]]
    place = _place(transaction, first.node)
    return f"{cut}unusual {words} {first.found}, {place}{expected}; {_rarity(first.p_value)}{more}"


def paint(transaction: Transaction, reading: Reading) -> tuple[Frame, ...]:
    """Every call and log in execution order with its heat and its rare values.

    A log's frame has kind LOG, the `node` of its emitting call (also as `parent`) and one depth more
    than that call. Where the tokens do not tell the logs apart, what they say is put on the call.
    """
    visits = list(walk(transaction.root))
    row = _rows(visits, reading.sequence)
    heat = np.zeros(len(visits))
    scored = ~np.isnan(reading.token_p)
    np.maximum.at(heat, row[scored], np.minimum(1.0, -np.log10(reading.token_p[scored]) / 4))
    evidence: dict[int, list[Evidence]] = {}
    for token in _rarest_tokens(reading):
        if reading.token_p[token] > SHOWN_P:
            break
        evidence.setdefault(int(row[token]), []).append(_evidence(reading, token))
    return tuple(
        _frame(visit, heat=float(heat[i]), evidence=tuple(evidence.get(i, ())))
        for i, visit in enumerate(visits)
    )


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
        found=safe_text(reading.unit_texts[int(sequence.unit[token])]),
        expected=tuple(safe_text(reading.piece_text(piece)) for piece in pieces),
        surprise=float(losses.surprise[token]),
        p_value=float(reading.token_p[token]),
    )


def _place(transaction: Transaction, node: int) -> str:
    found = next((v for v in walk(transaction.root) if v.node == node and isinstance(v.step, Call)), None)
    if found is None or not isinstance(found.step, Call):
        return f"in frame {node}"
    target = safe_text(found.step.target or "no address")
    if not found.depth:
        return f"in the outermost call, to {target}"
    return f"in a {found.step.kind.value} {found.depth} deep, to {target}"


def _rarity(p: float) -> str:
    if p > RARE_P:
        return f"not rare, p = {p:.2g}"
    return f"about 1 in {1 / p:,.0f} such values" if p >= 1e-6 else "rarer than 1 in a million such values"


def _rows(visits: Sequence[Visit], sequence: TokenSequence) -> NDArray[np.intp]:
    """For each token (T,) the index of the visit that it describes.

    The n-th value of field EMITTER opens the n-th log; that holds only if there are as many as logs.
    """
    call_rows = np.array([i for i, visit in enumerate(visits) if isinstance(visit.step, Call)])
    log_rows = np.array([i for i, visit in enumerate(visits) if isinstance(visit.step, Log)], dtype=np.intp)
    row = call_rows[sequence.node]
    emitter_units = np.unique(sequence.unit[sequence.field == Field.EMITTER])
    if not len(log_rows) or len(emitter_units) != len(log_rows):
        return row
    of_log = np.isin(sequence.field, _LOG_FIELDS)
    log = np.searchsorted(emitter_units, sequence.unit[of_log], side="right") - 1
    row[of_log] = log_rows[np.maximum(log, 0)]
    return row


def _frame(visit: Visit, *, heat: float, evidence: tuple[Evidence, ...]) -> Frame:
    step = visit.step
    if isinstance(step, Log):
        topic = "0x" + step.topics[0].hex() if step.topics else ""
        return Frame(
            visit.node,
            visit.parent,
            visit.depth + 1,
            "LOG",
            "",
            safe_text(step.emitter),
            topic,
            "",
            "",
            heat,
            evidence,
        )
    creates = step.kind in (CallKind.CREATE, CallKind.CREATE2)
    return Frame(
        node=visit.node,
        parent=visit.parent,
        depth=visit.depth,
        kind=step.kind.value,
        caller=safe_text(step.caller),
        target=safe_text(step.target or ""),
        selector="0x" + step.data[:4].hex() if len(step.data) >= 4 and not creates else "",
        value=str(step.value),
        error=safe_text(step.error or ""),
        heat=heat,
        evidence=evidence,
    )
