"""wanda: the smallest products of weight and input go (Sun et al. 2023, arXiv 2306.11695).

Score |W_ij| * ||X_j||_2, X_j the j-th input over all calibration tokens; compared within the row of one
output (unstructured) or within each group of M consecutive inputs (N:M). Kept weights do not change.

llmcompressor's Wanda rounds down in every row and so cannot give an exact count; here the rows' counts are
spread by largest remainder. Where both can, they choose the same masks (a test). `counts: reference` rounds
down as the authors do.

Knobs: `calibration`. Cost: forward passes over the calibration rows, one float per input, one sort.
Limits: needs text like the model's own; no update of the kept weights, so behind SparseGPT at high sparsity.
"""

from sparse_continual.pruning.input_statistics import Squares as Statistics  # noqa: F401  what `prune` measures by
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {"calibration": CALIBRATION}}
PATTERNS = ("unstructured", "N:M")
ALLOCATIONS = ("uniform", "erk", "owl")
COUNTS = ("exact", "reference")
NEEDS_CALIBRATION = True


def prune_matrix(weight, statistics, count):
    """(mask bool[R, C], weight) of one matrix; `statistics`: Statistics, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(weight.float().abs() * statistics.norms(), count, "row"), weight
