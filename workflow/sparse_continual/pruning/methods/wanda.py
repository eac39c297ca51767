"""wanda: removes the smallest products of weight and input norm (Sun et al. 2023, arXiv 2306.11695).

Score |W_ij| * ||X_j||_2, X_j the j-th input over all calibration tokens; compared within the row of one
output (unstructured) or within each group of M consecutive inputs (N:M). Kept weights do not change.

llmcompressor's Wanda rounds down in every row and so cannot reach an exact count; here the rows' counts are
rounded by largest remainder. Where both can, they choose the same masks (a test). `counts: reference` rounds
down as the authors do.

Knobs: `calibration`. Cost: forward passes over the calibration rows, one float per input, one sort.
Limits: needs text like the model's own; no update of the kept weights, so behind SparseGPT at high sparsity.
"""

from sparse_continual.pruning.input_statistics import Squares
from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {"calibration": CALIBRATION}}


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: Squares, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(weight.float().abs() * evidence.norms(), count, "row"), weight


METHOD = Method(
    prune_matrix,
    statistics=Squares,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    counts=("exact", "reference"),
    needs_calibration=True,
)
