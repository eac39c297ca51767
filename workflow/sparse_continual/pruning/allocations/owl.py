"""owl: keeps blocks with more outliers denser (Yin et al. 2024, arXiv 2310.05175; luuyin/OWL).

On the dense model, per decoder block: all |W_ij| * ||X_j||_2 of its matrices in one vector A; D = 100 times
the share of A above m times its mean. Density of block l: 2 lam (D_l - min D) / (max D - min D), minus its mean
over blocks, plus 1 - sparsity; equal within the block. If all D are equal: uniform.

The authors take an unweighted mean and raise sparsities below zero to zero, so their total drifts; here densities are
held within [0.01, 1] and shifted until the weighted total is exact.

Knobs: `m`, `lam` (the authors': 5 and 0.08 for 70 % sparsity; choose on calibration text). Cost: one more
dense pass over the calibration rows. Limits: made for high sparsity; at 50 % it does little.
"""

from sparse_continual.pruning.allocation import Allocation

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "m": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 5,
            "description": "an outlier exceeds this many times the mean",
        },
        "lam": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.08,
            "description": "largest deviation of a block's density from the middle of the range",
        },
    },
}
FLOOR = 0.01  # least density of a block


def kept(sizes: dict, total: int, magnitudes, m=5, lam=0.08) -> dict[str, int]:
    """Name -> kept weights of each matrix of `sizes` (name -> (rows, columns)); they add up to `total`.

    magnitudes: yields (weight names of one block, their |W| * input norms [weights of the block]).
    """
    outliers, block_of = [], {}
    for number, (names, values) in enumerate(magnitudes):
        outliers.append(100 * (values > m * values.double().mean()).double().mean().item())
        block_of |= dict.fromkeys(names, number)
    weights = [0] * len(outliers)
    for name, (rows, columns) in sizes.items():
        weights[block_of[name]] += rows * columns
    densities = shifted(raw_densities(outliers, lam), weights, total)
    return apportion(sizes, total, {name: densities[block_of[name]] for name in sizes})


def raw_densities(outliers: list[float], lam: float) -> list[float]:
    """Deviation of each block's density from 1 - sparsity."""
    low, high = min(outliers), max(outliers)
    if low == high:
        return [0.0] * len(outliers)
    raw = [2 * lam * (value - low) / (high - low) for value in outliers]
    mean = sum(raw) / len(raw)
    return [value - mean for value in raw]


def shifted(raw: list[float], weights: list[int], total: int) -> list[float]:
    """`raw` plus one constant, held within [FLOOR, 1], so that densities times `weights` add up to `total`."""
    low, high = -1 - max(raw), 2 - min(raw)
    floor = min(FLOOR, total / sum(weights))
    for _ in range(100):
        middle = (low + high) / 2
        densities = [min(1.0, max(floor, value + middle)) for value in raw]
        if sum(f * w for f, w in zip(densities, weights, strict=True)) < total:
            low = middle
        else:
            high = middle
    return densities


def apportion(sizes: dict, total: int, densities: dict[str, float]) -> dict[str, int]:
    """Integers that sum to `total`, nearest to density times size, by largest remainder."""
    exact = {name: densities[name] * rows * columns for name, (rows, columns) in sizes.items()}
    counts = {name: int(value) for name, value in exact.items()}
    roomy = [name for name, (rows, columns) in sizes.items() if counts[name] < rows * columns]
    by_remainder = sorted(roomy, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


ALLOCATION = Allocation(kept, needs="inputs")
