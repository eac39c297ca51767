"""counted: the weights that a pruned checkpoint lacks already, its exact zeros.

A weight exists unless it is +0.0 or -0.0; nothing is changed, and without recovery the checkpoint is used where it
lies. The pattern is counted too: an N:M that holds for every group of every matrix, else unstructured.
N:M here is "at most N of M": a kept weight that was rounded to zero is gone like the others.

Source: none; how a published checkpoint says which of its weights exist.
Knobs: none. Cost: one look at each matrix. Limits: a weight that training happened to leave at exactly zero counts as
absent; a dense checkpoint is refused.
"""

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
PATTERNS = ()  # none is asked for
ALLOCATIONS = ("uniform",)
COUNTS = ("exact",)
NEEDS_CALIBRATION = False


def read(model):
    """The `mask.Topology` of `model` as it is; its record holds what was counted of every matrix.

    record: `kept` and `patterns`, weight name -> weights that exist, and the finest pattern that holds.
    """
    from sparse_continual.models.load import matrix_of, prunable
    from sparse_continual.topologies.density import common_pattern
    from sparse_continual.topologies.mask import Topology
    from sparse_continual.topologies.patterns import count

    linears = prunable(model)
    counted = {name: count(matrix_of(module).detach()) for name, module in linears.items()}
    patterns = {name: found["pattern"] for name, found in counted.items()}
    masks = {name: (module.weight != 0).cpu() for name, module in linears.items()}
    record = {"kept": {name: found["nonzeros"] for name, found in counted.items()}, "patterns": patterns}
    return Topology(masks, common_pattern(patterns.values()), "counted", record)
