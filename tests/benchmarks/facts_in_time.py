"""The facts of transactions as the product has them: together with the earlier ones of the same account."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from blockscan.detect.accounts import Recent
from blockscan.detect.books import Books
from blockscan.detect.dealings import dealing_in, joint_of, with_joint
from blockscan.detect.facts import fact_values, facts_of
from blockscan.detect.history import History
from blockscan.transaction import Transaction


def facts_in_time(transactions: Sequence[Transaction], history: History) -> Iterator[NDArray[np.float64]]:
    """Facts (F,) of each transaction; they are in time order."""
    recent, books = Recent(0.0), Books(history)
    for each in transactions:
        facts, dealing = facts_of(each, history), dealing_in(each, history)
        joint = joint_of(facts, recent.dealings(each.sender, each.time), dealing, books)
        books.add(dealing)
        recent.add(each.sender, each.time, 0.0, dealing)
        yield fact_values(with_joint(facts, joint))
