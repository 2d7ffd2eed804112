import numpy as np
import pytest

from blockscan.model.batch import BUFFER, epoch_batches


@pytest.mark.parametrize(("capacity", "least"), [(8192, 0.998), (131_072, 0.98), (2_000_000, 0.4)])
def test_short_windows_fill_large_batches_over_many_buffers(capacity, least):
    """A heavy tail; the last capacity is more than a buffer holds. Only the last batch has room left."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(80 * rng.pareto(1.2, 5 * BUFFER + 100) + 20, 4096).astype(np.int64)
    batches = list(epoch_batches(lengths, capacity, np.random.default_rng(1)))
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(len(lengths)))
    tokens = [int(lengths[chosen].sum()) for chosen in batches]
    assert max(tokens) <= capacity
    assert len(batches) == -(-sum(tokens) // capacity)
    assert sum(tokens) / (len(batches) * capacity) > least
