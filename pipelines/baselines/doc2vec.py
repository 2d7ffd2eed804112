"""Doc2Vec with a Gaussian mixture: paragraph vectors of the bag kind (PV-DBOW, Le & Mikolov 2014).

A document's vector is what predicts the document's words best. The usual implementation samples
negatives, and its inference starts at random; here the softmax is whole, and the vector of a new
document is sought from zero as the minimum of a convex function, so that inference has no seed. There each
document is updated once for each of its words, so that one of few words stays near the origin; a Gaussian
prior on the vector does the same here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from blockscan.transaction import Transaction
from pipelines.baselines.bags import bag_matrix
from pipelines.baselines.mixture import ROWS, fit_mixture
from pipelines.baselines.setting import Score, Setting

DIMENSIONS = 16
EPOCHS = 8
BATCH = 256
NEWTON_STEPS = 50
NEAR_ENOUGH = 1e-9  # nats that a further step would still gain
PRIOR = 0.5  # nats for a squared length of one: variance 1 of each coordinate


@dataclass(frozen=True, slots=True)
class WordTable:
    """What is learned: `vectors` float32 (V, D) and `bias` float32 (V,) of the words."""

    vectors: Tensor
    bias: Tensor

    def loss(self, documents: Tensor, counts: Tensor) -> Tensor:
        """Nats of word counts (B, V) under document vectors (B, D), and of these under their prior: (B,)."""
        logits = torch.addmm(self.bias, documents, self.vectors.T)
        return -(counts * logits.log_softmax(-1)).sum(-1) + PRIOR * documents.square().sum(-1)


def fit_doc2vec(train: Sequence[Transaction], setting: Setting) -> Score:
    """Learn words and documents on at most ROWS transactions; score by -log density of inferred vectors."""
    chosen = setting.rng.permutation(len(train))[:ROWS]
    counts = bag_matrix([train[i] for i in np.sort(chosen)], setting.tokenizer)
    table = learn(counts, setting)
    density = fit_mixture(_vectors(table, counts), setting.rng)

    def score(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
        vectors = _vectors(table, bag_matrix(transactions, setting.tokenizer))
        return density(vectors).reshape(-1, 1)

    return score


def learn(counts: csr_array, setting: Setting) -> WordTable:
    """Word vectors from documents, rows of counts (N, V), by Adam over EPOCHS shuffled epochs."""
    count, words = counts.shape
    generator = torch.Generator().manual_seed(int(setting.rng.integers(2**31)))
    documents, vectors = (
        (torch.randn(rows, DIMENSIONS, generator=generator) / DIMENSIONS).to(setting.device).requires_grad_()
        for rows in (count, words)
    )
    table = WordTable(vectors, torch.zeros(words, device=setting.device, requires_grad=True))
    optimizer = torch.optim.Adam([documents, table.vectors, table.bias], lr=0.02)
    steps = EPOCHS * -(-count // BATCH)
    done = 0
    for _ in range(EPOCHS):
        order = setting.rng.permutation(count)
        for begin in range(0, count, BATCH):
            rows = order[begin : begin + BATCH]
            target = _dense(counts, rows, setting.device)
            optimizer.zero_grad(set_to_none=True)
            table.loss(documents[torch.from_numpy(rows)], target).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimizer.step()
            done += 1
            if setting.on_step:
                setting.on_step(done, steps)
    return WordTable(table.vectors.detach(), table.bias.detach())


def infer(table: WordTable, counts: csr_array) -> NDArray[np.float64]:
    """Vectors (N, D) of new documents, rows of counts (N, V); each depends on its own row alone."""
    exact = WordTable(table.vectors.double(), table.bias.double())
    found = []
    for begin in range(0, counts.shape[0], BATCH):
        rows = np.arange(begin, min(begin + BATCH, counts.shape[0]))
        target = _dense(counts, rows, table.bias.device).double()
        found.append(_minimum(exact, target).cpu().numpy())
    return np.concatenate(found)


def _minimum(table: WordTable, counts: Tensor) -> Tensor:
    """Where the loss of word counts (B, V) is smallest, (B, D), by Newton's method with halved steps."""
    vectors = table.vectors
    squares = (vectors[:, :, None] * vectors[:, None, :]).flatten(1)
    words = counts.sum(-1, keepdim=True)
    documents = counts.new_zeros(len(counts), DIMENSIONS)
    loss = table.loss(documents, counts)
    for _ in range(NEWTON_STEPS):
        share = torch.addmm(table.bias, documents, vectors.T).softmax(-1)
        mean = share @ vectors
        gradient = words * mean - counts @ vectors + 2 * PRIOR * documents
        spread = (share @ squares).view(-1, DIMENSIONS, DIMENSIONS) - mean[:, :, None] * mean[:, None]
        curvature = words[:, :, None] * spread + 2 * PRIOR * torch.eye(DIMENSIONS).to(counts)
        step = torch.linalg.solve(curvature, gradient)
        if (gradient * step).sum(-1).max() / 2 < NEAR_ENOUGH:
            break
        for _ in range(10):
            further = table.loss(documents - step, counts)
            step = torch.where((further > loss)[:, None], step / 2, step)
        closer = table.loss(documents - step, counts)
        documents = torch.where((closer < loss)[:, None], documents - step, documents)
        loss = torch.minimum(closer, loss)
    return documents


def _vectors(table: WordTable, counts: csr_array) -> NDArray[np.float64]:
    """As `infer`, once for equal documents: most transactions of a chain are plain transfers."""
    places: dict[bytes, int] = {}
    first, which = list[int](), list[int]()
    for row, (begin, end) in enumerate(pairwise(counts.indptr.tolist())):
        key = counts.indices[begin:end].tobytes() + counts.data[begin:end].tobytes()
        if key not in places:
            places[key] = len(first)
            first.append(row)
        which.append(places[key])
    return infer(table, counts[first])[which]


def _dense(counts: csr_array, rows: NDArray[np.int64], device: torch.device | str) -> Tensor:
    return torch.from_numpy(counts[rows].toarray()).float().to(device)
