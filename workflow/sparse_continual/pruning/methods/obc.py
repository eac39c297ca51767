"""obc: removes the weight that costs the layer least, one after the other, and adjusts the other weights of its row
to compensate (ExactOBS, Frantar & Alistarh 2022, arXiv 2208.11580, sections 4 and 5; IST-DASLab/OBC).

Per row, with G = H^-1 over the remaining weights: p = argmin w_p^2 / G_pp; the loss grows by w_p^2 / (2 G_pp); w -=
G_:,p w_p / G_pp; G -= G_:,p G_p,: / G_pp. Unstructured, `rows: global`: every row is run to its end; the smallest of
all R * C growths decide how many weights each row loses (`equal`: all rows the same number). N:M: a group is closed
when it has lost M - N. The weights of a row are then the least-squares ones for its mask.

H is damped only if its factorisation fails: by 1e-8 of its mean diagonal, then ten times more until it succeeds; the
record says so. The authors add a fixed 1 instead, which depends on the inputs' scale, and take H from the dense model.
Here each block reads the output of the pruned blocks before it, as for SparseGPT, unless `one_pass` follows the
authors.

Knobs: `calibration`, `rows`, `max_columns`, `one_pass`. Cost: R C^3 per matrix of R outputs and C inputs in float64.
Limits: only for narrow matrices (a 4096 x 4096 one takes 3e17 operations): wider ones are refused. Greedy: with few
columns, up to 8 times the best possible loss.
"""

from sparse_continual.errors import UserError
from sparse_continual.pruning.input_statistics import SecondMoments as Statistics
from sparse_continual.pruning.method import Method
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "calibration": CALIBRATION,
        "rows": {
            "enum": ["global", "equal"],
            "default": "global",
            "description": "whether rows of a matrix compete for the kept weights; under N:M they do not",
        },
        "max_columns": {
            "type": "integer",
            "minimum": 1,
            "default": 2048,
            "description": "greatest number of inputs of a matrix",
        },
        "one_pass": {  # no default: a default would rename every topology without it
            "type": "boolean",
            "description": "measure every block on its inputs in the dense model; default: no",
        },
    },
}
BATCH = 1 << 24  # numbers in the inverses of the rows that are processed at once


def passes(options, text):
    """Passes of the walk (pruning/cost.py); with `one_pass` the last block runs too."""
    return text.walked() + text.passes(read=text.size if options.get("one_pass") else 0)


def prune_block(block, job, one_pass=False, **options):
    """Prune the matrices of a `walk.Block`; with `one_pass` the next block reads this one's dense outputs."""
    measured = block.measure(Statistics)
    if one_pass:
        block.run_all()
    for name in block.linears:
        job.prune_one(prune_matrix, name, measured[name], **options)


def prune_matrix(weight, evidence, count, rows="global", max_columns=2048):
    """(mask bool[R, C], weight float64 [R, C]) of one matrix; `evidence`: Statistics, `count`: a `counts.Count`.

    Raises UserError when the matrix is too wide, or when H is not positive definite even after damping.
    """
    import torch

    from sparse_continual.pruning.select import keep_largest, rows_kept

    outputs, columns = weight.shape
    if columns > max_columns:
        raise UserError(
            f"method obc: found {columns} inputs, expected at most {max_columns}: the cost grows with their "
            "cube; use sparsegpt, or raise `max_columns`"
        )
    weight = weight.double()
    inverse, dead = _inverse(evidence)
    step = max(1, BATCH // columns**2)
    parts = weight.split(step)
    absent = [None] * len(parts) if count.existing is None else (~count.existing).split(step)
    parts = [
        remove_all(part, inverse, dead, count.groups, lacking)
        for part, lacking in zip(parts, absent, strict=True)
    ]
    order, growth = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    if count.groups:
        kept, of = count.groups
        gone = [columns // of * (of - kept)] * outputs
        if count.existing is not None:
            left = count.existing.view(outputs, -1, of).sum(2).clamp(max=kept).sum(1)
            gone = (columns - left).tolist()
    elif rows == "equal":
        gone = [columns - kept for kept in rows_kept(count, outputs, columns)]
    else:  # the smallest growths of all rows: they decide how many weights each row loses, not which
        gone = (~keep_largest(growth, count.kept)).sum(1).tolist()
    mask = torch.ones_like(weight, dtype=torch.bool)
    for row, many in enumerate(gone):
        mask[row, order[row, :many]] = False
    new = [refit(w, m, inverse) for w, m in zip(weight.split(step), mask.split(step), strict=True)]
    return mask, torch.cat(new)


def _inverse(evidence):
    """(H^-1 float64 [C, C], dead bool[C]), with the smallest damping for which H can be factorised."""
    import torch

    hessian = evidence.hessian().double()
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    mean = hessian.diagonal().mean()
    for damping in (0.0, *(10.0**power for power in range(-8, 0))):
        damped = hessian + damping * mean * torch.eye(
            len(hessian), dtype=hessian.dtype, device=hessian.device
        )
        factor, failed = torch.linalg.cholesky_ex(damped)
        # a pivot as small as the rounding error of the diagonal: this factor is meaningless
        if not failed and (factor.diagonal().square() > 1e-13 * damped.diagonal()).all():
            inverse = torch.cholesky_inverse(factor)
            if torch.isfinite(inverse).all():
                evidence.notes |= {"damping": damping, "dead": int(dead.sum())}
                return inverse, dead
    raise UserError(
        "the inputs' second moments are not positive definite even at a damping of a tenth: activations are broken"
    )


def remove_all(weight, inverse, dead, groups=None, absent=None):
    """Remove every weight of every row (N:M: until all groups are full), the cheapest first.

    weight: float64 [B, C]; inverse: H^-1 [C, C]; dead: bool[C], inputs that were always zero, which go first at no
    cost; groups: (N, M) or None; absent: bool[B, C] of weights that did not exist, which go before all others, or None.

    Returns (order int64 [B, steps]: the column removed in each step; growth [B, steps]: the growth of the row's
    1/2 (v - w) H (v - w)^T in each step, -1/2 for a weight that did not exist). Ties go to the first column. With
    `absent` and `groups`, steps of a row after all its groups are closed mean nothing.
    """
    import torch

    weight = weight.clone()
    many, columns = weight.shape
    steps = columns
    if groups is not None:
        steps = columns // groups[1] * (groups[1] - groups[0])
        if absent is not None:  # a group that lacks more than M - N weights still loses exactly these
            lacking = absent.view(many, -1, groups[1]).sum(2).clamp(min=groups[1] - groups[0])
            steps = int(lacking.sum(1).max())
    inverses = inverse.expand(many, columns, columns).clone()
    closed = torch.zeros_like(weight, dtype=torch.bool)
    removed = torch.zeros_like(closed)
    each = torch.arange(many, device=weight.device)
    order = torch.zeros(many, steps, dtype=torch.int64, device=weight.device)
    growth = weight.new_zeros(many, steps)
    for step in range(steps):
        diagonal = inverses.diagonal(dim1=1, dim2=2).masked_fill(removed, 1)
        scores = (weight.square() / diagonal).masked_fill(dead, 0).masked_fill(closed | removed, torch.inf)
        if absent is not None:
            scores.masked_fill_(absent & ~removed, -1)
        place = scores.argmin(1)
        growth[:, step] = scores[each, place] / 2
        order[:, step] = place
        pull = inverses[each, :, place]
        pivot = diagonal[each, place]
        weight -= pull * (weight[each, place] / pivot)[:, None]
        inverses.baddbmm_(pull[:, :, None], (pull / pivot[:, None])[:, None], alpha=-1)
        removed[each, place] = True
        weight[each, place] = 0
        inverses[each, place] = 0  # exactly: the remainder is rounding error
        inverses[each, :, place] = 0
        if groups:
            lost = removed.view(many, -1, groups[1]).sum(2) >= groups[1] - groups[0]
            closed = lost.repeat_interleave(groups[1], 1)
    return order, growth


def refit(weight, mask, inverse):
    """Least-squares weights [B, C] on `mask`, zero elsewhere: w - G_:,P (G_PP)^-1 w_P; P: removed places of the row."""
    import torch

    gone = ~mask
    system = torch.where(gone[:, :, None] & gone[:, None, :], inverse, 0)
    system.diagonal(dim1=1, dim2=2).add_(mask)
    factor = torch.linalg.cholesky(system)
    pull = torch.cholesky_solve((weight * gone)[:, :, None], factor)[:, :, 0]
    return (weight - pull @ inverse).masked_fill(gone, 0)


METHOD = Method(
    prune_matrix,
    statistics=Statistics,
    prune_block=prune_block,
    passes=passes,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    needs_calibration=True,
)
