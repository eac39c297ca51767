"""magnitude: the smallest weights go (Han et al. 2015, arXiv 1506.02626).

Score |W|, compared within the matrix (unstructured) or within each group of M consecutive inputs (N:M).
Kept weights do not change.

Knobs: none. Cost: one sort per matrix, no data. Limits: blind to the inputs, so it is far behind Wanda and
SparseGPT on a pretrained model without retraining; close to them after it.
"""

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
PATTERNS = ("unstructured", "N:M")
NEEDS_CALIBRATION = False


def prune_matrix(weight, statistics, groups, kept):
    """(mask bool[R, C], weight): see `prune.prune`; `statistics` is None."""
    from sparse_continual.topologies.select import keep_largest, keep_per_group

    scores = weight.float().abs()
    return (keep_per_group(scores, *groups) if groups else keep_largest(scores, kept)), weight
