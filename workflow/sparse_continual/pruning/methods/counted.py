"""counted: the topology is the set of nonzero weights of a pruned checkpoint.

A weight exists unless it is +0.0 or -0.0. Nothing is changed, and without recovery the checkpoint is used where it
lies. The pattern is counted too: an N:M that holds for every group of every matrix that is not dense, else
unstructured. N:M here means "at most N of M": a kept weight that was rounded to zero counts as absent.

Source: none; the rule by which a published checkpoint defines its topology.
Knobs: none. Cost: one pass over each matrix. Limits: a weight that training happened to leave at exactly zero counts as
absent; a dense checkpoint is refused.
"""

from sparse_continual.pruning.method import Method

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def read(model):
    """The `mask.Topology` of `model`; its record holds the counts of every matrix.

    record: `kept` and `patterns`, weight name -> number of existing weights, and the finest pattern that holds. A
    matrix that could have an N:M by chance gets it only if another matrix has it beyond chance.
    """
    from sparse_continual.models.load import matrix_of, prunable
    from sparse_continual.topologies.topology import Topology
    from sparse_continual.topologies.zeros import count

    linears = prunable(model)
    counted = {name: count(matrix_of(module).detach()) for name, module in linears.items()}
    backed = {matrix["pattern"] for matrix in counted.values() if ":" in matrix["pattern"]}
    for kind in sorted(backed, key=_finest) if _common(counted) == "unstructured" else ():
        again = {name: count(matrix_of(module).detach(), kind) for name, module in linears.items()}
        if _common(again) != "unstructured":
            counted = again
            break
    patterns = {name: matrix["pattern"] for name, matrix in counted.items()}
    masks = {name: (module.weight != 0).cpu() for name, module in linears.items()}
    record = {"kept": {name: matrix["nonzeros"] for name, matrix in counted.items()}, "patterns": patterns}
    return Topology(masks, _common(counted), "counted", record)


def _common(counted: dict) -> str:
    from sparse_continual.topologies.density import common_pattern

    return common_pattern((matrix["pattern"], matrix["density"]) for matrix in counted.values())


def _finest(pattern: str) -> tuple:
    kept, of = map(int, pattern.split(":"))
    return kept / of, of


METHOD = Method(read=read, patterns=())
