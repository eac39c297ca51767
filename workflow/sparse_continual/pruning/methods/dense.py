"""dense: every weight exists; the model is not changed, and there is no topology file.

Source: none; the control of every comparison.
Knobs: none. Cost: none. Limits: none.
"""

from sparse_continual.pruning.method import Method

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix: everything is kept."""
    import torch

    return torch.ones_like(weight, dtype=torch.bool), weight


METHOD = Method(prune_matrix, patterns=("dense",))
