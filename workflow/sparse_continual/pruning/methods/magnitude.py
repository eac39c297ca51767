"""magnitude: the smallest weights go (Han et al. 2015, arXiv 1506.02626).

Score |W|, compared within the matrix (unstructured), over all matrices (allocation `global`), or within each
group of M consecutive inputs (N:M).
Kept weights do not change.

Knobs: none. Cost: one sort per matrix, no data. Limits: blind to the inputs, so it is far behind Wanda and
SparseGPT on a pretrained model without retraining; close to them after it.
"""

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
PATTERNS = ("unstructured", "N:M")
ALLOCATIONS = ("uniform", "erk", "owl", "global")
COUNTS = ("exact", "reference")
NEEDS_CALIBRATION = False
AT_INIT = True  # its choice means something before training too


def prune_matrix(weight, statistics, count):
    """(mask bool[R, C], weight) of one matrix; `statistics` is None, `count` a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(scores(weight, statistics), count), weight


def scores(weight, statistics):
    """float32 [R, C]: what is compared over matrices too, under allocation `global`."""
    return weight.float().abs()
