"""Densities and patterns of a topology, matrix by matrix: always counted, never declared."""

import re

from sparse_continual.topologies.counts import parse_pattern

DECLARED = 0.01  # tolerance of a declared sparsity: they are rounded to whole percents
ZEROS = 0.05  # share of exact zeros above which weights count as pruned, not merely rounded


def densities_of_masks(masks: dict, declared: str) -> list[dict]:
    """One row per matrix of numpy bool masks by weight name, of a declared pattern, in order of layer.

    Keys: matrix, layer (its block's number), module (such as "q_proj"), weights, nonzeros, density, and the counted
    pattern: the declared N:M only if no group keeps more than N (in a base that lacked weights, a group may keep
    fewer); "structured", if declared, only if whole lines are absent and no other weight; "dense" if nothing is absent;
    else "unstructured".
    """
    rows = [
        {
            "matrix": name,
            "layer": layer_of(name),
            "module": module_of(name),
            "weights": mask.size,
            "nonzeros": int(mask.sum()),
            "density": float(mask.mean()),
            "pattern": counted_pattern(mask, declared),
        }
        for name, mask in masks.items()
    ]
    return sorted(rows, key=lambda row: row["layer"])


def layer_of(name: str) -> int:
    """Number of the decoder block that a parameter belongs to: the first number in its name."""
    return int(re.search(r"\.(\d+)\.", name)[1])


def module_of(name: str) -> str:
    """The name of a matrix within its block, such as "q_proj": the last word except "weight" and an expert's number."""
    return [word for word in name.removesuffix(".weight").split(".") if not word.isdigit()][-1]


def counted_pattern(mask, declared: str) -> str:
    """Pattern of one bool[rows, columns] numpy mask."""
    if mask.all():
        return "dense"
    if declared == "structured" and (mask == mask.any(axis=1)[:, None] & mask.any(axis=0)).all():
        return declared
    groups = parse_pattern(declared)
    if groups and mask.shape[1] % groups[1] == 0:
        kept, of = groups
        if (mask.reshape(-1, of).sum(axis=1) <= kept).all():
            return declared
    return "unstructured"


def common_pattern(matrices, declared=None) -> str:
    """The pattern of a model from its matrices, pairs (pattern, density): the finest pattern that all sparse matrices
    have, else `declared` if all have it, else "unstructured"; "dense" if no weight is absent.

    Sparse matrices lack more than ZEROS of their weights; if there are none, those that lack any weight. A matrix
    without any weight has every pattern.
    """
    pairs = [(pattern, float(density)) for pattern, density in matrices]
    sparse = [kind for kind in pairs if kind[1] < 1 - ZEROS] or [kind for kind in pairs if kind[1] < 1]
    if not sparse:
        return "dense"
    kinds = sorted({pattern for pattern, density in sparse if density})
    candidates = kinds + [declared] * bool(declared)
    return next((one for one in candidates if all(implies(kind, one) for kind in kinds)), "unstructured")


def implies(one: str, other: str) -> bool:
    """Whether every matrix of pattern `one` also has pattern `other`: 1:4 is 2:4, and 2:4 is 4:8."""
    if one == other or other == "unstructured":
        return True
    if ":" not in one or ":" not in other:
        return False
    (kept, of), (most, group) = ([int(number) for number in pattern.split(":")] for pattern in (one, other))
    # the most that a group of `group` can keep: the sum over the groups in it, or that of the group around it
    worst = kept * (group // of) if group % of == 0 else kept if of % group == 0 else group
    return worst <= most


def sparsity_agrees(declared: float, block: float, overall: float | None) -> bool:
    """Whether a declared sparsity is that of the block weights or, as some declare it, that of all weights.

    block, overall: counted shares of zeros; overall is None if not all weights were counted.
    """
    return any(abs(declared - share) <= DECLARED for share in (block, overall) if share is not None)
