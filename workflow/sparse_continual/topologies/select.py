"""Choosing which weights stay, to the exact count: the first of a stable sort by (score, index) go.

Never a threshold, which takes or leaves all equal scores together; only `counts: reference` repeats the
thresholds of the authors' code.
"""

import torch

from sparse_continual.errors import UserError
from sparse_continual.topologies.counts import Count, spread


def keep(scores: torch.Tensor, count: Count, within: str = "matrix") -> torch.Tensor:
    """bool mask of the weights that stay of a matrix of `scores` [rows, columns], the largest ones.

    Under N:M they compete in their group; else `within` the "matrix", or the "row" (rows keep equally many,
    spread by largest remainder).
    """
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
        return keep_per_row(scores, spread(count.kept, [columns] * rows))
    return keep_per_row(scores, [columns - int(columns * count.reference)] * rows)


def keep_largest(scores: torch.Tensor, kept: int) -> torch.Tensor:
    """bool mask of the `kept` largest of all `scores` [rows, columns]."""
    order = _finite(scores).flatten().sort(stable=True).indices
    mask = torch.ones_like(order, dtype=torch.bool)
    mask[order[: order.numel() - kept]] = False
    return mask.view_as(scores)


def keep_per_row(scores: torch.Tensor, kept: list[int]) -> torch.Tensor:
    """bool mask of the `kept[r]` largest scores of each row r."""
    ranks = _ranks(scores)
    pruned = scores.shape[1] - torch.tensor(kept, device=scores.device)
    return ranks >= pruned[:, None]


def keep_per_group(scores: torch.Tensor, kept: int, of: int) -> torch.Tensor:
    """bool mask of the `kept` largest scores of every `of` consecutive ones of a row."""
    groups = scores.reshape(-1, of)
    return (_ranks(groups) >= of - kept).view_as(scores)


def keep_above(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """bool mask of the scores above the one at place int(size * sparsity) of the sorted ones.

    The rounding of SparseGPT's and Wanda's repositories: prunes one too many, and every tie.
    """
    ordered = _finite(scores).flatten().sort().values
    return scores > ordered[int(scores.numel() * sparsity)]


def _reference_groups(scores: torch.Tensor, pruned: int, of: int) -> torch.Tensor:
    """N:M by torch.topk, as the repositories do: which of equal scores go is topk's affair."""
    groups = _finite(scores).reshape(-1, of)
    gone = groups.topk(pruned, dim=1, largest=False).indices
    return torch.ones_like(groups, dtype=torch.bool).scatter_(1, gone, False).view_as(scores)


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """Rank of each score in its row, 0 the smallest, equal ones by index."""
    order = _finite(scores).sort(dim=1, stable=True).indices
    ranks = torch.empty_like(order)
    return ranks.scatter_(1, order, torch.arange(scores.shape[1], device=scores.device).expand_as(order))


def _finite(scores: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(scores).all():
        raise UserError("pruning scores are NaN or infinite: the model's weights or activations are broken")
    return scores
