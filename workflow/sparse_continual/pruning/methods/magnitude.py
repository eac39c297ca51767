"""magnitude: removes the smallest weights (Han et al. 2015, arXiv 1506.02626).

Score |W|, compared within the matrix (unstructured), over all matrices (allocation `global`), or within each
group of M consecutive inputs (N:M).
Kept weights do not change.

Knobs: none. Cost: one sort per matrix, no data. Limits: ignores the inputs, so on a pretrained model it is far behind
Wanda and SparseGPT without retraining; close to them after it.
"""

from sparse_continual.pruning.method import Method

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence` is None, `count` a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(scores(weight, evidence), count), weight


def scores(weight, evidence):
    """float32 [R, C], which allocation `global` compares over all matrices."""
    return weight.float().abs()


METHOD = Method(
    prune_matrix,
    scores=scores,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl", "global"),
    counts=("exact", "reference"),
    at_init=True,
)
