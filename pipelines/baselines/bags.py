"""Bags of tokens: how often each piece of our vocabulary occurs, as TF-IDF, reduced, under a mixture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer

from blockscan.transaction import Transaction
from pipelines.baselines.mixture import fit_mixture
from pipelines.baselines.setting import Score, Setting, Tokenizer

DIMENSIONS = 16


def bag_matrix(transactions: Sequence[Transaction], tokenizer: Tokenizer) -> csr_array:
    """Counts of pieces, a sparse float32 matrix (N, V); all aliases of one span count as its first."""
    first = tokenizer.shape.first_of_span()
    ids, counts, ends = [], [], [0]
    for transaction in transactions:
        found, times = np.unique(first[tokenizer.encode(transaction).ids], return_counts=True)
        ids.append(found)
        counts.append(times)
        ends.append(ends[-1] + len(found))
    data = np.concatenate(counts).astype(np.float32)
    return csr_array(
        (data, np.concatenate(ids), np.array(ends)), shape=(len(transactions), tokenizer.shape.size)
    )


def fit_tfidf(train: Sequence[Transaction], setting: Setting) -> Score:
    """TF-IDF with 1 + log counts, truncated SVD, Gaussian mixture; the score is -log density."""
    bags = bag_matrix(train, setting.tokenizer)
    weighting = TfidfTransformer(sublinear_tf=True).fit(bags)
    dimensions = max(1, min(DIMENSIONS, *(size - 1 for size in bags.shape)))
    svd = TruncatedSVD(dimensions, random_state=int(setting.rng.integers(2**31)))
    density = fit_mixture(svd.fit_transform(weighting.transform(bags)), setting.rng)

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        weighted = weighting.transform(bag_matrix(transactions, setting.tokenizer))
        return density(svd.transform(weighted)).reshape(-1, 1)

    return score
