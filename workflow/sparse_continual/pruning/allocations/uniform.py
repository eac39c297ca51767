"""uniform: every matrix keeps the same share of its weights.

Integers by largest remainder, so that they sum to the total for all shapes. A matrix of an already pruned model may
have fewer weights than its share: it keeps all of them, and the others share the rest equally.

Knobs: none. Cost: none. Limits: none; the only allocation under N:M, which fixes every matrix's density.
"""

from sparse_continual.pruning.allocation import Allocation
from sparse_continual.topologies.counts import spread

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def kept(sizes: dict, total: int) -> dict[str, int]:
    """Name -> kept weights of each matrix of `sizes` (name -> (rows, columns)); they add up to `total`."""
    shares = spread(total, [rows * columns for rows, columns in sizes.values()])
    return dict(zip(sizes, shares, strict=True))


ALLOCATION = Allocation(kept)
