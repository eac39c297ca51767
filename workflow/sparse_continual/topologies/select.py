"""Choosing which weights stay, to the exact count: the first of a stable sort by (score, index) go.

Never a threshold, which takes or leaves all equal scores together.
"""

import torch

from sparse_continual.errors import UserError


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


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """Rank of each score in its row, 0 the smallest, equal ones by index."""
    order = _finite(scores).sort(dim=1, stable=True).indices
    ranks = torch.empty_like(order)
    return ranks.scatter_(1, order, torch.arange(scores.shape[1], device=scores.device).expand_as(order))


def _finite(scores: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(scores).all():
        raise UserError("pruning scores are NaN or infinite: the model's weights or activations are broken")
    return scores
