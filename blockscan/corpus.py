"""Many transactions as tokens in a few arrays: millions of objects would take more memory than the tokens.

The arrays may lie in mapped files: the system then holds of them what is in use, once for all processes.

Legend: T tokens, S transactions, B bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from blockscan.tokens import TokenSequence

TOKEN = np.dtype(
    [
        ("ids", np.int32),
        ("node", np.int32),
        ("unit", np.int32),
        ("group", np.int32),
        ("depth", np.int16),
        ("modality", np.uint8),
        ("field", np.uint8),
        ("scored", np.bool_),
    ],
    align=True,
)
"""One token as in TokenSequence; together, so that a short transaction is on one page of a file."""

ROW = np.dtype(
    [(name, np.int64) for name in ("block", "when", "index", "begin", "end", "name_begin", "name_end")]
)
"""One transaction: its place in time, see pipelines.sources.time_order, its tokens, the bytes of its hash."""

COLUMNS = tuple(field.name for field in fields(TokenSequence) if field.name != "tx_hash")
"""The arrays of a TokenSequence, in its order."""


@dataclass(frozen=True, slots=True, eq=False)
class Corpus(Sequence[TokenSequence]):
    """Transactions `rows_S` (ROW), whose tokens are parts of `tokens_T` (TOKEN), in any order.

    names_B: uint8, the hashes in UTF-8.
    """

    tokens_T: NDArray[np.void]
    rows_S: NDArray[np.void]
    names_B: NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of transactions."""
        return len(self.rows_S)

    @overload
    def __getitem__(self, place: int) -> TokenSequence: ...
    @overload
    def __getitem__(self, place: slice) -> "Corpus": ...
    def __getitem__(self, place: int | slice) -> "TokenSequence | Corpus":
        """One transaction, or some without a copy of their tokens."""
        if isinstance(place, slice):
            return replace(self, rows_S=self.rows_S[place])
        *_, begin, end, name_begin, name_end = self.rows_S[place].item()
        tokens_T = self.tokens_T[begin:end]
        name = self.names_B[name_begin:name_end].tobytes().decode()
        return TokenSequence(name, **{column: tokens_T[column] for column in COLUMNS})

    @property
    def blocks(self) -> tuple[int, int] | None:
        """The first and the last block that is known."""
        known = self.rows_S["block"][self.rows_S["block"] >= 0]
        return (int(known.min()), int(known.max())) if len(known) else None
