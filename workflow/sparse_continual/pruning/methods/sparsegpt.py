"""sparsegpt: removes weights by optimal-brain-surgeon scores and compensates in the later weights of the row
(Frantar & Alistarh 2023, arXiv 2301.00774).

With H = (2/n) sum X X^T + damping * mean(diag H) * I over n calibration sequences, and U the upper Cholesky
factor of H^-1 (H^-1 = U^T U), column by column from the left: score (w_ij / U_jj)^2; a removed weight leaves
the error e = w_ij / U_jj, and the columns after it in its row change by -e * U_j,:. Unstructured: the
weights of a whole block of `block` columns compete, as updated so far, when the block begins. N:M: the
M weights of a group compete when the group begins.

llmcompressor's SparseGPT thresholds and so prunes one weight too many per block and all ties; here counts
are exact. Where both can, they agree in masks and weights (a test). `counts: reference` thresholds as the
authors do.

`true_sequential`: inside a block too, matrices read the outputs of the pruned matrices before them (Llama: q, k, v; o;
gate, up; down), as in the authors' option of that name. By default all are measured while the block is dense.

Knobs: `calibration`, `damping`, `block`, `true_sequential`. Cost: three forward passes over the calibration rows, with
`true_sequential` one more for each further group of matrices with the same inputs; per matrix of C inputs C^3 for the
factor and R C^2 for the updates; float64 up to 4096 inputs, else float32.
Limits: needs text like the model's own; in a narrow matrix (C <= block) all weights compete at once, before any update,
so it can be worse than Wanda at high sparsity: choose `block` <= C / 2 there.
"""

from sparse_continual.pruning.input_statistics import SecondMoments
from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

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
        "true_sequential": {  # no default: a default would rename every topology without it
            "type": "boolean",
            "description": "measure again after each group of matrices of a block is pruned; default: no",
        },
    },
}
PART = 32  # columns of a block that are updated one by one


class Statistics(SecondMoments):
    """Second moments with products in single precision, which halves the time of measuring."""

    QUICK = True


def passes(options, text):
    """Passes of the walk (pruning/cost.py)."""
    return text.walked(text.readings if options.get("true_sequential") else 1)


def prune_block(block, job, /, true_sequential=False, **options):
    """Prune the matrices of a `walk.Block`: all as measured in the dense block, or group by group in model order.

    `options`: of `prune_matrix`; its `block` counts columns.
    """
    from sparse_continual.models.blockwise import Block

    measured, groups = block.measure(Statistics), {}
    for name in block.linears:  # matrices with the same inputs do not change each other's inputs
        groups.setdefault(measured[name] if true_sequential else None, []).append(name)
    for number, names in enumerate(groups.values()):
        if number:
            group = {name: block.linears[name] for name in names}
            measured = Block(block.name, block.module, group, block.inputs, block.calls).measure(Statistics)
        for name in names:
            job.prune_one(prune_matrix, name, measured[name], **options)


def prune_matrix(weight, evidence, count, damping=0.01, block=128):
    """(mask bool[R, C], weight [R, C] in the moments' type) of one matrix; `evidence`: Statistics, `count`: a
    `counts.Count`.
    """
    from dataclasses import replace

    from sparse_continual.pruning.select import keep
    from sparse_continual.topologies.counts import fit, spread

    rows, columns = weight.shape
    factor, dead = evidence.factor(damping)
    if count.groups:
        group = count.groups[1]
        block = max(block // group, 1) * group

        def choose(start, scores):
            return keep(scores, within(start, scores, count))
    else:
        group = block
        counts = spread(count.kept, [rows * min(block, columns - at) for at in range(0, columns, block)])
        if count.existing is not None:
            counts = fit(counts, [int(part.sum()) for part in count.existing.split(block, dim=1)])

        def choose(start, scores):
            return keep(scores, within(start, scores, replace(count, kept=counts[start // block])))

    def within(start, scores, part):
        """The part of the count `own` for the columns of `scores`."""
        if count.existing is None:
            return part
        return replace(part, existing=count.existing[:, start : start + scores.shape[1]])

    if count.reference is not None:  # the authors zero the weights of dead inputs first
        weight = weight.masked_fill(dead, 0)
    return sweep(weight, factor, dead, choose, block, group)[:2]


def sweep(weight, factor, dead, choose, block: int, group: int):
    """Remove and update column by column.

    `choose(start, scores [R, width])` returns the mask of the next `group` columns from `start` on (`group` divides
    `block`). Updates reach the columns of the same part of a block at once, later parts when the part ends, and later
    blocks when the block ends, so that most of the work is matrix products.

    Returns (mask bool[R, C], weight [R, C] with zeros where the mask is False, loss [R]: each row's
    1/2 (v - w) H (v - w)^T with the damped H).
    """
    import torch

    # inputs first: a column of the matrix is a row here, so that each step works on contiguous memory
    work = weight.T.to(factor.dtype, copy=True, memory_format=torch.contiguous_format)
    mask = torch.ones(work.shape, dtype=torch.bool, device=work.device)
    loss = work.new_zeros(work.shape[1])
    part = PART if group == block else PART // group * group or group
    for first in range(0, len(work), block):
        last = min(first + block, len(work))
        errors = work.new_zeros(last - first, work.shape[1])
        for start in range(first, last, part):
            end = min(start + part, last)
            for j in range(start, end):
                if (j - first) % group == 0:
                    inputs = slice(j, min(j + group, last))
                    scores = (work[inputs] / factor.diagonal()[inputs, None]).square()
                    scores[dead[inputs]] = 0
                    mask[inputs] = choose(j, scores.T.contiguous()).T
                error = torch.div(work[j], factor[j, j], out=errors[j - first]).masked_fill_(mask[j], 0)
                work[j + 1 : end].addr_(factor[j, j + 1 : end], error, alpha=-1)
            work[end:last] -= factor[start:end, end:last].T @ errors[start - first : end - first]
        work[last:] -= factor[first:last, last:].T @ errors
        loss += errors.square().sum(0) / 2
    return mask.T.contiguous(), work.masked_fill_(~mask, 0).T.contiguous(), loss


METHOD = Method(
    prune_matrix,
    statistics=Statistics,
    prune_block=prune_block,
    passes=passes,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    counts=("exact", "reference"),
    needs_calibration=True,
)
