"""One number per transaction: how long it is, what it cost, how much happened in it. Nothing is fitted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.counts import COUNT_NAMES, count_features
from blockscan.transaction import Transaction
from pipelines.baselines.setting import Score, Setting

_COUNTED = ("gas_used", "calls", "depth", "input_bytes", "logs")
COLUMNS = ("length", *_COUNTED)


def fit_sizes(_train: Sequence[Transaction], setting: Setting) -> Score:
    """Tokens of our tokenizer, then the counts of `count_features`; gas is -1 where it is not known."""
    places = [COUNT_NAMES.index(name) for name in _COUNTED]

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        values = np.empty((len(transactions), len(COLUMNS)))
        for row, transaction in zip(values, transactions, strict=True):
            row[0] = len(setting.tokenizer.encode(transaction))
            row[1:] = count_features(transaction)[places]
        return values

    return score
