"""wanda: the smallest products of weight and input go (Sun et al. 2023, arXiv 2306.11695).

Score |W_ij| * ||X_j||_2, X_j the j-th input over all calibration tokens; compared within the row of one
output (unstructured) or within each group of M consecutive inputs (N:M). Kept weights do not change.

llmcompressor's Wanda rounds down in every row and so cannot give an exact count; here the rows' counts are
spread by largest remainder. Where both can, they choose the same masks (a test).

Knobs: `calibration`. Cost: three forward passes over the calibration rows, one float per input, one sort.
Limits: needs text like the model's own; no update of the kept weights, so behind SparseGPT at high sparsity.
"""

from sparse_continual.topologies.calibration import SCHEMA as CALIBRATION

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {"calibration": CALIBRATION}}
PATTERNS = ("unstructured", "N:M")
NEEDS_CALIBRATION = True


class Statistics:
    """Sums of squares of each of `columns` inputs over all tokens."""

    def __init__(self, columns: int, device):
        import torch

        self.squares = torch.zeros(columns, dtype=torch.float64, device=device)

    def add(self, inputs) -> None:
        """Take in the inputs [..., columns] of one sequence."""
        self.squares += inputs.reshape(-1, inputs.shape[-1]).double().square().sum(0)


def prune_matrix(weight, statistics, groups, kept):
    """(mask bool[R, C], weight): see `prune.prune`; `statistics` is a Statistics."""
    from sparse_continual.topologies.counts import spread
    from sparse_continual.topologies.select import keep_per_group, keep_per_row

    scores = weight.float().abs() * statistics.squares.sqrt().float()
    if groups:
        return keep_per_group(scores, *groups), weight
    rows, columns = weight.shape
    return keep_per_row(scores, spread(kept, [columns] * rows)), weight
