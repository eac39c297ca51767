"""Choose the kept weights to the exact count: the first of a stable sort by (score, index) go.

There is no threshold, which would keep or remove all equal scores together. Only `counts: reference` repeats the
thresholds of the authors' code.
"""

import torch

from sparse_continual.errors import UserError
from sparse_continual.topologies.counts import Count, fit, spread


def keep(scores: torch.Tensor, count: Count, within: str = "matrix") -> torch.Tensor:
    """bool mask of the kept weights of a matrix of `scores` [rows, columns], the largest ones.

    Under N:M, weights compete in their group; otherwise within the "matrix" or the "row" (rows keep equally many, by
    largest remainder, as far as they have them). Only weights that exist (`count.existing`) are chosen.
    """
    if count.existing is None:
        return _keep(scores, count, within)
    # the lowest score, so that absent weights go before all others
    lowest = torch.finfo(scores.dtype).min
    return _keep(scores.masked_fill(~count.existing, lowest), count, within) & count.existing


def rows_kept(count: Count, rows: int, columns: int) -> list[int]:
    """How many of the `count.kept` weights each row keeps: equally many, as far as it has them."""
    shares = spread(count.kept, [columns] * rows)
    return shares if count.existing is None else fit(shares, count.existing.sum(1).tolist())


def _keep(scores, count, within):
    rows, columns = scores.shape
    if count.groups:
        kept, of = count.groups
        if count.reference is None:
            return keep_per_group(scores, kept, of)
        return _reference_groups(scores, of - kept, of)
    if within == "matrix":
        if count.reference is None:
            return keep_largest(scores, count.kept)
        return keep_above(scores, count.reference)
    if count.reference is None:
        return keep_per_row(scores, rows_kept(count, rows, columns))
    return keep_per_row(scores, [columns - int(columns * count.reference)] * rows)


def keep_largest(scores: torch.Tensor, kept: int) -> torch.Tensor:
    """bool mask of the `kept` largest of all `scores` [rows, columns]."""
    flat = _finite(scores).reshape(1, -1)
    return ~_smallest(flat, flat.numel() - kept).view_as(scores)


def keep_per_row(scores: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """bool mask of the `kept[r]` largest scores of each row r."""
    scores = _finite(scores)
    kept = torch.tensor(kept, device=scores.device)
    mask = torch.empty_like(scores, dtype=torch.bool)
    for count in kept.unique().tolist():  # one or two values if they were distributed evenly
        rows = kept == count
        mask[rows] = ~_smallest(scores[rows], scores.shape[1] - count)
    return mask


def keep_per_group(scores: torch.Tensor, kept: int, of: int) -> torch.Tensor:
    """bool mask of the `kept` largest of every `of` consecutive scores of a row."""
    members = _finite(scores).reshape(-1, of).T.contiguous()
    ranks = torch.zeros(members.shape, dtype=torch.int16, device=scores.device)
    for one in range(of):  # comparing all pairs is far faster than a sort for groups of 4 or 8
        for later in range(one + 1, of):
            first = members[later] < members[one]
            ranks[one] += first
            ranks[later] += ~first
    return (ranks >= of - kept).T.reshape(scores.shape)


def keep_above(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """bool mask of the scores above the sorted score number int(size * sparsity).

    This is the rounding of SparseGPT's and Wanda's repositories: it prunes one weight too many, and every tie.
    """
    ordered = _finite(scores).flatten().sort().values
    return (
        scores > ordered[min(int(scores.numel() * sparsity), scores.numel() - 1)]
    )  # the whole matrix is absent


def _reference_groups(scores: torch.Tensor, pruned: int, of: int) -> torch.Tensor:
    """N:M by torch.topk, as in the repositories; topk decides between equal scores."""
    groups = _finite(scores).reshape(-1, of)
    gone = groups.topk(pruned, dim=1, largest=False).indices
    return torch.ones_like(groups, dtype=torch.bool).scatter_(1, gone, False).view_as(scores)


def _smallest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """bool mask of the `count` smallest of each row of finite `scores` [rows, columns]; equal scores by index.

    Equal to the front of a stable sort, without sorting: all scores below the count-th smallest, then the first of
    those equal to it until `count` is reached.
    """
    if not count:
        return torch.zeros_like(scores, dtype=torch.bool)
    bound = scores.kthvalue(count, dim=1, keepdim=True).values
    below, equal = scores < bound, scores == bound
    room = count - below.sum(1, keepdim=True)
    if (equal.sum(1, keepdim=True) > room).any():
        equal &= equal.cumsum(1) <= room
    return below | equal


def _finite(scores: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(scores).all():
        raise UserError("pruning scores are NaN or infinite: the model's weights or activations are broken")
    return scores
