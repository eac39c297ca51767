"""Selection against brute force, ties included."""

import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.pruning.select import keep_largest, keep_per_group, keep_per_row


def brute(scores: list[float], kept: int) -> list[bool]:
    """Which of `scores` stay: all but the first by (score, index)."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    gone = set(order[: len(scores) - kept])
    return [i not in gone for i in range(len(scores))]


def some_scores(seed, rows, columns):
    """Scores with many ties: integers 0 to 5."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (rows, columns), generator=generator).float()


@pytest.mark.parametrize("seed", range(8))
def test_against_brute_force(seed):
    rows, columns = 3 + seed % 4, 4 * (1 + seed % 5)
    scores = some_scores(seed, rows, columns)
    for kept in (0, 1, rows * columns // 3, rows * columns):
        assert keep_largest(scores, kept).flatten().tolist() == brute(scores.flatten().tolist(), kept)
    counts = [(seed + r) % (columns + 1) for r in range(rows)]
    expected = [brute(row, kept) for row, kept in zip(scores.tolist(), counts, strict=True)]
    assert keep_per_row(scores, counts).tolist() == expected
    for kept in (1, 2, 3):
        groups = [brute(group, kept) for group in scores.reshape(-1, 4).tolist()]
        assert keep_per_group(scores, kept, 4).reshape(-1, 4).tolist() == groups


def test_equal_scores_go_in_index_order():
    scores = torch.ones(2, 4)
    assert keep_largest(scores, 3).tolist() == [[False] * 4, [False, True, True, True]]
    assert keep_per_row(scores, [1, 3]).tolist() == [[False] * 3 + [True], [False] + [True] * 3]
    assert keep_per_group(scores, 2, 4).tolist() == [[False, False, True, True]] * 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers(bad):
    scores = torch.ones(2, 4)
    scores[1, 2] = bad
    for keep, how in ((keep_largest, [3]), (keep_per_row, [[1, 1]]), (keep_per_group, [2, 4])):
        with pytest.raises(UserError, match="NaN or infinite"):
            keep(scores, *how)
