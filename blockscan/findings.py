"""What the detector says of a transaction and what the store keeps: plain, frozen, JSON-ready."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evidence:
    """One surprising name or fact: what stood there, what the model expected, how rare that is.

    `node` is the pre-order index of the call frame, `field` a blockscan.tokens.Field name in lower case or a
    fact's, `p_value` the token's calibrated p-value within its field or the fact's among benign transactions
    of its size, `surprise` in nats. `least` is the smallest p-value that the benign ones it was compared with
    can show, 1 / (1 + their number), 0 where that was not noted: a smaller `p_value` orders extremes, and is
    no claim of how rare they are.
    """

    node: int
    field: str
    found: str
    expected: tuple[str, ...]
    surprise: float
    p_value: float
    least: float = 0.0

    @property
    def extrapolated(self) -> bool:
        """Whether it is rarer than the benign ones can show."""
        return self.p_value < self.least


@dataclass(frozen=True, slots=True)
class Frame:
    """One call (or log, where `kind` is LOG) of the painted tree, in pre-order; `heat` is 0 (ordinary) to 1.

    `heat` is min(1, -log10(smallest token p-value of the frame) / 4). Chain text in `target`,
    `selector` and `error` is attacker-written: show it as text, never as markup.
    """

    node: int
    parent: int
    depth: int
    kind: str
    caller: str
    target: str
    selector: str
    value: str
    error: str
    heat: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Joint:
    """A fact that an account's transactions of the last minutes show together, as it was found then.

    `name` is one of blockscan.detect.facts.FACTS, `value` and `node` (pre-order index of a frame of the last
    transaction) are that fact's, `found` says what it is about.
    """

    name: str
    value: float
    node: int
    found: str


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier transactions add to a judgement, its account's and all of the chain's; see TxScore."""

    carried: float = 0.0
    joint: tuple[Joint, ...] = ()
    mix: tuple[int, ...] = ()


NOTHING_BEFORE = Before()


@dataclass(frozen=True, slots=True)
class TxScore:
    """The judgement on one transaction under one calibration. Higher `value` = more anomalous.

    `p_value` is the split-conformal p-value, None where the calibration has no transactions of this
    trace source. `reason` is one line for a person. `evidence` is ordered, strongest first. `model`
    and `calibration` are fingerprints. `windows` counts the model windows the transaction needed.
    `carried` is the part of the value that comes from what the sender did just before, `joint` what those
    transactions show together with this one and it does not show alone, be it nothing. `mix` counts the last
    transactions of the chain by size, see blockscan.detect.mix; () where the p-value does not allow for it.
    """

    chain: str
    tx_hash: str
    block_number: int | None
    tx_index: int | None
    time: int | None
    sender: str
    target: str | None
    value: float
    p_value: float | None
    reason: str
    evidence: tuple[Evidence, ...]
    calls: int
    tokens: int
    windows: int
    source: str
    trace_status: str
    model: str
    calibration: str
    carried: float = 0.0
    joint: tuple[Joint, ...] = ()
    mix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """A TxScore at or under the calibration's alarm level, with what a person made of it.

    severity: critical, high, medium or low. status: open, acknowledged, dismissed, confirmed or
    orphaned. `unique_key` is stable over reruns (chain and transaction hash).
    """

    unique_key: str
    score: TxScore
    severity: str
    status: str
    note: str = ""
