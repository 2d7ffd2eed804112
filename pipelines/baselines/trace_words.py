"""BlockGPT's view of a transaction (arXiv 2304.12749): trace items as words, each with its place in the tree.

A frame is kind, caller, callee, function, value, then its data and return data in 32-byte words; a log is
emitter and topics, then its data. Numbers keep two significant digits. The paper leaves details open; this
is a reading of it, and typed words are told apart as our tokenizer does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockscan.tokens import Modality
from blockscan.transaction import Call, CallKind, Log, walk
from pipelines.baselines.novelty import SELECTOR_BYTES, selector_of
from tokenizer.words import Classify, Value, word_classifier

START = 0
DEEPEST = 32
SIBLINGS = 32
WORD_BYTES = 32
_SORTS = ("k", "a", "s", "n", "t", "h", "x", "b")  # kind, address, function, number, topic, hash, text, rest
_LONGEST_TEXT = 64


@dataclass(frozen=True, slots=True)
class Placed:
    """One transaction. words: M of them; depth, sibling int64 (M,): of the frame, capped.

    `sibling` counts the sub-calls of one caller from 0.
    """

    words: list[str]
    depth: NDArray[np.int64]
    sibling: NDArray[np.int64]


class TraceReader:
    """Call trees to words, at most `most` of a transaction: the rest is cut off, as the authors do."""

    def __init__(self, most: int) -> None:
        """`most`: the context of the model, in words."""
        self._most = most
        self._classify = word_classifier(frozenset())

    def read(self, root: Call) -> Placed:
        """The first words of a tree; what lies behind them is not even looked at."""
        words: list[str] = []
        depth: list[int] = []
        sibling: list[int] = []
        place_of = [0]
        children: Counter[int] = Counter()
        for visit in walk(root):
            if isinstance(visit.step, Call) and visit.node:
                place_of.append(children[visit.parent])
                children[visit.parent] += 1
            for word in _step_words(visit.step, self._classify):
                words.append(word)
                depth.append(min(visit.depth, DEEPEST - 1))
                sibling.append(min(place_of[visit.node], SIBLINGS - 1))
                if len(words) == self._most:
                    return Placed(words, np.array(depth), np.array(sibling))
        return Placed(words, np.array(depth), np.array(sibling))


class TraceVocabulary:
    """Words with an id; the rare ones of each sort share one. Id 0 opens a sequence."""

    def __init__(self, words: Iterable[str], most: int) -> None:
        """Keep the `most` most frequent words that occur at least twice."""
        counted = Counter(words)
        unknown = [f"{sort}:?" for sort in _SORTS]
        frequent = sorted((-times, word) for word, times in counted.items() if times > 1)
        kept = [word for _, word in frequent[: max(0, most - 1 - len(unknown))]]
        self._ids = {word: 1 + place for place, word in enumerate([*unknown, *kept])}

    def __len__(self) -> int:
        """Number of ids."""
        return 1 + len(self._ids)

    def ids(self, words: list[str]) -> NDArray[np.int64]:
        """Ids of words, (M,)."""
        return np.array([self._ids.get(word) or self._ids[f"{word[0]}:?"] for word in words], dtype=np.int64)


def two_digits(number: int) -> str:
    """A number with two significant digits: 123456 is 12e5, -7 is -7e0."""
    digits = str(abs(number))
    return f"{'-' if number < 0 else ''}{digits[:2]}e{len(digits) - 1}"


def _step_words(step: Call | Log, classify: Classify) -> Iterator[str]:
    if isinstance(step, Log):
        yield f"a:{step.emitter}"
        yield from (f"t:{topic.hex()}" for topic in step.topics[:1])
        yield from (_word(classify(topic)) for topic in step.topics[1:] if len(topic) == WORD_BYTES)
        if step.text:
            yield f"x:{step.text[:_LONGEST_TEXT]}"
        yield from _data_words(step.data, classify)
        return
    yield f"k:{step.kind}{'' if step.ok else '!'}"
    yield f"a:{step.caller}"
    yield f"a:{step.target}"
    function = selector_of(step)
    yield f"s:{function}"
    yield f"n:{two_digits(step.value)}"
    skipped = 0 if not function else 1 if step.kind is CallKind.INSTRUCTION else SELECTOR_BYTES
    yield from _data_words(step.data, classify, skipped)
    yield from _data_words(step.output, classify)


def _data_words(data: bytes, classify: Callable[[bytes], Value], begin: int = 0) -> Iterator[str]:
    """32-byte words as typed words, and the length of what is left over."""
    while begin + WORD_BYTES <= len(data):
        yield _word(classify(data[begin : begin + WORD_BYTES]))
        begin += WORD_BYTES
    if begin < len(data):
        yield f"b:{len(data) - begin}"


def _word(value: Value) -> str:
    modality, content = value
    if isinstance(content, int):
        return f"n:{two_digits(content)}"
    if isinstance(content, bytes):
        return f"h:{content.hex()}"
    return f"{'a' if modality is Modality.ADDRESS else 'x'}:{content}"
