import math

import torch

from blockscan.model.rope import rope_table, rotate


def test_scores_depend_on_the_distance_only():
    table = rope_table(3000, 32, 10_000.0)
    q, k = torch.randn(2, 1, 2, 32, generator=torch.Generator().manual_seed(0))

    def score(i: int, j: int) -> torch.Tensor:
        return (rotate(q, table[i : i + 1]) * rotate(k, table[j : j + 1])).sum(-1)

    for gap in (0, 1, 50):
        near, far = score(10 + gap, 10), score(2900 + gap, 2900)
        torch.testing.assert_close(near, far, atol=2e-5, rtol=1e-5)
    assert not torch.allclose(score(10, 10), score(11, 10), atol=1e-3)
    assert not torch.allclose(score(11, 10), score(10, 11), atol=1e-3)


def test_a_turn_by_hand():
    turned = rotate(torch.tensor([[[1.0, 0.0, 0.0, 2.0]]]), rope_table(3, 4, 100.0)[2:3])
    expected = [math.cos(2), math.sin(2), -2 * math.sin(0.2), 2 * math.cos(0.2)]
    torch.testing.assert_close(turned.flatten(), torch.tensor(expected))


def test_lengths_stay_and_position_zero_changes_nothing():
    x = torch.randn(50, 4, 32, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, rope_table(50, 32, 160_000.0))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[0], x[0])


def test_the_type_is_kept():
    x = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert rotate(x, rope_table(5, 8, 100.0)).dtype == torch.bfloat16


def test_distant_positions_are_exact():
    table = rope_table(100_001, 8, 10_000.0)
    assert abs(complex(table[100_000, 0]) - complex(math.cos(100_000), math.sin(100_000))) < 1e-6
