"""Brackets, and what kind of frame or log begins. A value of this modality is its own only piece."""

from collections.abc import Sequence

from blockscan.config import TokenizerConfig
from blockscan.tokens import Modality
from blockscan.transaction import CallKind
from tokenizer.vocabulary import Names, Vocabulary

Mark = tuple[Modality, str]
MOST_TOPICS = 4

END: Mark = (Modality.STRUCTURE, "[END]")
OUT: Mark = (Modality.STRUCTURE, "[OUT]")
ERR: Mark = (Modality.STRUCTURE, "[ERR]")
VALUE: Mark = (Modality.STRUCTURE, "[VALUE]")

# (kind, succeeded, caller is written) and (number of topics, emitter is written)
KINDS: dict[tuple[CallKind, bool, bool], Mark] = {
    (kind, ok, explicit): (
        Modality.STRUCTURE,
        f"[{kind} {'ok' if ok else 'failed'}{' from' if explicit else ''}]",
    )
    for kind in CallKind
    for ok in (True, False)
    for explicit in (False, True)
}
LOGS: dict[tuple[int, bool], Mark] = {
    (topics, explicit): (Modality.STRUCTURE, f"[LOG{topics}{' from' if explicit else ''}]")
    for topics in range(MOST_TOPICS + 1)
    for explicit in (False, True)
}
# What a Solana program printed, an event of its, and a balance that changed, by whether the emitter is
# written. They stand in a vocabulary only if it was fitted on Solana.
PRINTS, EVENTS, BALANCES = (
    {explicit: (Modality.STRUCTURE, f"[{name}{' from' if explicit else ''}]") for explicit in (False, True)}
    for name in ("PRINT", "EVENT", "BALANCE")
)
KIND_OF = {piece: key for key, (_, piece) in KINDS.items()}
LOG_OF = {piece: key for key, (_, piece) in LOGS.items()}
PROGRAM_LOG_OF = {
    piece: (name, explicit)
    for name, marks in (("PRINT", PRINTS), ("EVENT", EVENTS), ("BALANCE", BALANCES))
    for explicit, (_, piece) in marks.items()
}


def alphabet(_config: TokenizerConfig) -> list[str]:
    """All marks."""
    return [piece for _, piece in (END, OUT, ERR, VALUE, *KINDS.values(), *LOGS.values())]


def pieces(value: str, _names: Names) -> tuple[str, ...]:
    """The mark itself."""
    return (value,)


def value(pieces: Sequence[str], _vocabulary: Vocabulary) -> str:
    """The mark itself."""
    return pieces[0]
