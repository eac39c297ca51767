"""The planned numbers of a topology's model, for the job that makes it."""

from sparse_continual.pruning.check import check, is_found
from sparse_continual.topologies.counts import matrices
from sparse_continual.training.arithmetic import Shape, parameters


def planned(topology: dict, shape: dict) -> dict:
    """{matrices: name -> (outputs, inputs), parameters, nonzeros} of a topology's settings on a `shape`.

    nonzeros is None if the plan has no exact number: for weights that are counted in a checkpoint, and for counts that
    are rounded as the method's authors round them.
    """
    exact = not is_found(topology) and topology.get("counts") != "reference"
    return {
        "matrices": matrices(shape),
        "parameters": parameters(Shape(**shape))["total"],
        "nonzeros": check(topology, shape) if exact else None,
    }
