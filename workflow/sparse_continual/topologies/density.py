"""What a topology really holds, matrix by matrix: counted, never taken from what it says."""

import re

from sparse_continual.topologies.counts import parse_pattern


def densities_of_masks(masks: dict, declared: str) -> list[dict]:
    """One row per matrix of numpy bool masks by weight name, of a declared pattern, in order of layer.

    Keys: matrix, layer (its block's number), module (such as "q_proj"), weights, nonzeros, density, and
    pattern as counted: the declared N:M only if every group keeps exactly N, "structured" where it is
    declared only if whole lines are absent and no other weight, "dense" if nothing is absent, else "unstructured".
    """
    rows = [
        {
            "matrix": name,
            "layer": layer_of(name),
            "module": name.removesuffix(".weight").rsplit(".", 1)[-1],
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


def counted_pattern(mask, declared: str) -> str:
    """Pattern of one bool[rows, columns] numpy mask."""
    if mask.all():
        return "dense"
    if declared == "structured" and (mask == mask.any(axis=1)[:, None] & mask.any(axis=0)).all():
        return declared
    groups = parse_pattern(declared)
    if groups and mask.shape[1] % groups[1] == 0:
        kept, of = groups
        if (mask.reshape(-1, of).sum(axis=1) == kept).all():
            return declared
    return "unstructured"


def common_pattern(patterns) -> str:
    """The pattern of a model whose matrices have `patterns`: theirs where it is one, else unstructured."""
    found = set(patterns)
    return found.pop() if len(found) == 1 else "unstructured"
