"""global: removes the smallest scores over all matrices.

Equal scores go in the order of the matrices, then of their places. The boundary score is found by counting bit patterns
(non-negative floats have the order of their bits), without a sort or a copy of all scores: three passes over the
matrices, one of them in memory at a time.

Knobs: none. Cost: scores of every matrix, three times. Limits: compares weights of different matrices without
rescaling, so it can empty a matrix of small scale, which is refused.
"""

from sparse_continual.pruning.allocation import Allocation

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def kept(sizes: dict, total: int, scores) -> dict[str, int]:
    """Name -> kept weights of each matrix of `sizes`; they add up to `total`.

    scores(name): non-negative float32 [rows, columns] of one matrix.

    Raises UserError naming a matrix whose scores are not finite.
    """
    import torch

    from sparse_continual.errors import UserError

    def bits(name):
        values = scores(name)
        if not torch.isfinite(values).all():
            raise UserError(f"{name}: pruning scores are NaN or infinite")
        return values.float().flatten().abs().view(torch.int32)

    gone = sum(rows * columns for rows, columns in sizes.values()) - total
    if not gone:
        return {name: rows * columns for name, (rows, columns) in sizes.items()}
    high = sum(torch.bincount(bits(name) >> 16, minlength=1 << 16) for name in sizes)
    upper, before = _place(high, gone)
    low = torch.zeros(1 << 16, dtype=torch.int64)
    for name in sizes:
        pattern = bits(name)
        low += torch.bincount(pattern[pattern >> 16 == upper] & 0xFFFF, minlength=1 << 16).cpu()
    lower, before_low = _place(low, gone - before)
    boundary, ties = (upper << 16) + lower, gone - before - before_low
    counts = {}
    for name in sizes:
        pattern = bits(name)
        tied = min(ties, int((pattern == boundary).sum()))
        counts[name] = pattern.numel() - int((pattern < boundary).sum()) - tied
        ties -= tied
    return counts


def _place(histogram, rank: int) -> tuple[int, int]:
    """(bin that holds the `wanted`-th value, how many values lie in the bins before it)."""
    sums = histogram.cumsum(0)
    place = int((sums >= rank).nonzero()[0])
    return place, int(sums[place - 1]) if place else 0


ALLOCATION = Allocation(kept, needs="scores")
