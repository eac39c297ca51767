"""dense: every weight exists. The model is used as it is, and there is no topology file.

Source: none; the control of every comparison.
Knobs: none. Cost: none. Limits: none.
"""

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
PATTERNS = ("dense",)
ALLOCATIONS = ("uniform",)
COUNTS = ("exact",)
NEEDS_CALIBRATION = False


def prune_matrix(weight, statistics, count):
    """(mask bool[R, C], weight) of one matrix: all of it."""
    import torch

    return torch.ones_like(weight, dtype=torch.bool), weight
