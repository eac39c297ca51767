"""erk: kept weights in proportion to rows + columns (Evci et al. 2020, arXiv 1911.11134, section 3; after
Mocanu et al. 2018, arXiv 1707.04780).

Density eps * (rows + columns) / (rows * columns), with eps from the total. Matrices whose density would pass
1 become dense, the largest first, and eps is solved for again.

Knobs: none. Cost: none. Limits: small matrices become denser, large ones sparser; without small ones it is uniform.
Made for training from scratch: nothing shows that pretrained models are best pruned this way.
"""

from sparse_continual.pruning.allocation import Allocation

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def kept(sizes: dict, total: int) -> dict[str, int]:
    """Name -> kept weights of each matrix of `sizes` (name -> (rows, columns)); they add up to `total`."""
    from sparse_continual.topologies.counts import spread

    weights = {name: rows * columns for name, (rows, columns) in sizes.items()}
    sides = {name: rows + columns for name, (rows, columns) in sizes.items()}
    counts, left = {}, total
    while sides:
        whole = sum(sides.values())
        full = [name for name in sides if left * sides[name] >= weights[name] * whole]  # density >= 1
        if not full:
            break
        dense = max(full, key=lambda name: sides[name] / weights[name])
        counts[dense] = weights[dense]
        left -= weights[dense]
        del sides[dense]
    counts |= dict(zip(sides, spread(left, list(sides.values())), strict=True)) if sides else {}
    return {name: counts[name] for name in sizes}


ALLOCATION = Allocation(kept)
