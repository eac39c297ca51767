"""sparsegpt: optimal-brain-surgeon scores, and every removal is made up for by the weights after it
(Frantar & Alistarh 2023, arXiv 2301.00774).

With H = (2/n) sum X X^T + damping * mean(diag H) * I over n calibration sequences, and U the upper Cholesky
factor of H^-1 (H^-1 = U^T U), column by column from the left: score (w_ij / U_jj)^2; a removed weight leaves
the error e = w_ij / U_jj, and the columns after it in its row change by -e * U_j,:. Unstructured: the
weights of a whole block of `block` columns compete, as updated so far, when the block begins. N:M: those of
M inputs of one row, when their group begins.

llmcompressor's SparseGPT thresholds and so prunes one weight too many per block and all ties; here counts
are exact. Where both can, they agree in masks and weights (a test).

Knobs: `calibration`, `damping`, `block`. Cost: three forward passes over the calibration rows; per matrix
of C inputs C^3 for the factor and R C^2 for the updates; float64 up to 4096 inputs, else float32.
Limits: needs text like the model's own; in narrow matrices (C <= block) the whole matrix competes at once,
before any update, so it can be worse than Wanda at high sparsity: choose `block` <= C / 2 there.
"""

from sparse_continual.errors import UserError
from sparse_continual.topologies.calibration import SCHEMA as CALIBRATION

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "calibration": CALIBRATION,
        "damping": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.01,
            "description": "added to H's diagonal, as a share of its mean",
        },
        "block": {
            "type": "integer",
            "minimum": 1,
            "default": 128,
            "description": "columns that compete together; for N:M lowered to a multiple of M",
        },
    },
}
PATTERNS = ("unstructured", "N:M")
NEEDS_CALIBRATION = True
EXACT = 4096  # inputs up to which H is held in float64


class Statistics:
    """H of the inputs of one or more matrices that read the same ones."""

    def __init__(self, columns: int, device):
        import torch

        dtype = torch.float64 if columns <= EXACT else torch.float32
        self.products = torch.zeros(columns, columns, dtype=dtype, device=device)
        self.sequences = 0
        self._factors = {}

    def add(self, inputs) -> None:
        """Take in the inputs [..., columns] of one sequence."""
        inputs = inputs.reshape(-1, inputs.shape[-1]).to(self.products.dtype)
        self.products.addmm_(inputs.T, inputs)
        self.sequences += 1

    def factor(self, damping: float):
        """(U [C, C] upper with H^-1 = U^T U, dead bool[C]: inputs that were always zero).

        Raises UserError when H is not finite or its factorisation fails; nothing is put in its place.
        """
        if damping not in self._factors:
            self._factors[damping] = self._factorise(damping)
        return self._factors[damping]

    def _factorise(self, damping: float):
        import torch

        hessian = self.products * (2 / self.sequences)
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal[dead] = 1
        diagonal += damping * diagonal.mean()
        factor, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
        if failed or not torch.isfinite(factor).all():
            raise UserError(
                f"the inputs' second moments cannot be factorised at damping {damping}: activations "
                "are broken, or `damping` is too small"
            )
        return factor, dead


def prune_matrix(weight, statistics, groups, kept, damping=0.01, block=128):
    """(mask bool[R, C], weight float[R, C]): see `prune.prune`; `statistics` is a Statistics."""
    from sparse_continual.topologies.counts import spread
    from sparse_continual.topologies.select import keep_largest, keep_per_group

    rows, columns = weight.shape
    factor, dead = statistics.factor(damping)
    if groups:
        block = max(block // groups[1], 1) * groups[1]

        def choose(start, scores):
            return keep_per_group(scores, *groups)
    else:
        counts = spread(kept, [rows * min(block, columns - start) for start in range(0, columns, block)])

        def choose(start, scores):
            return keep_largest(scores, counts[start // block])

    return sweep(weight, factor, dead, choose, block, groups[1] if groups else block)[:2]


def sweep(weight, factor, dead, choose, block: int, group: int):
    """Remove and update column by column.

    `choose(start, scores [R, width])` returns the mask of the columns from `start` on, `group` of them (which
    divides `block`), when the sweep reaches them. Updates reach the columns of the same block at once and
    those after it when the block ends.

    Returns (mask bool[R, C], weight [R, C] with zeros where the mask is False, loss [R]: each row's
    1/2 (v - w) H (v - w)^T with the damped H).
    """
    import torch

    weight = weight.to(factor.dtype, copy=True)
    mask = torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
    loss = weight.new_zeros(weight.shape[0])
    for first in range(0, weight.shape[1], block):
        last = min(first + block, weight.shape[1])
        errors = weight.new_zeros(weight.shape[0], last - first)
        for j in range(first, last):
            if (j - first) % group == 0:
                columns = slice(j, min(j + group, last))
                scores = (weight[:, columns] / factor.diagonal()[columns]).square()
                scores[:, dead[columns]] = 0
                mask[:, columns] = choose(j, scores)
            error = torch.where(mask[:, j], 0, weight[:, j] / factor[j, j])
            weight[:, j].masked_fill_(~mask[:, j], 0)
            weight[:, j + 1 : last] -= torch.outer(error, factor[j, j + 1 : last])
            errors[:, j - first] = error
            loss += error.square() / 2
        weight[:, last:] -= errors @ factor[first:last, last:]
    return mask, weight, loss
