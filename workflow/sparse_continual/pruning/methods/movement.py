"""movement: keeps the weights that training moves away from zero (Sanh et al. 2020, arXiv 2005.07683;
huggingface/block_movement_pruning).

Every weight has a score Z, 0 at first; the forward pass reads W * M(Z); straight through M, dL/dZ = dL/d(W * M) * W,
so Z sums up -g w. `form: hard`: M keeps the v largest scores of each matrix, v falling from 1 to the final density
as a cubic between `start` and `end`, shares of `steps`. `form: soft`: M keeps where sigmoid(Z) > tau, tau rising to
`threshold` the same way, and the loss has penalty * tau_t / tau times the mean over matrices of the mean of
sigmoid(Z); at least 0.5 % stay. Soft has no exact density: at the end both keep the largest Z to the exact count.

Knobs: `calibration` (the rows that it trains on), `steps`, `batch_size`, `learning_rate`, `warmup`, `score_rate`,
`form`, `start`, `end`, `threshold`, `penalty`. The authors' rates, 3e-5 and 1e-2, are for BERT on a task. Cost: one
training run, with two forward passes of the blocks; 16 bytes per weight for Z. Limits: the loss is language modelling;
the paper trains on the task itself. Equal scores go by index, so v must not fall before scores have moved.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.training.gradual import SETTINGS, check_ends, passes

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **SETTINGS,
        "score_rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.01,
            "description": "Adam's learning rate of Z",
        },
        "form": {
            "enum": ["hard", "soft"],
            "default": "hard",
            "description": "top scores, or scores above a threshold",
        },
        "start": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.1,
            "description": "share of the steps at which v begins to fall",
        },
        "end": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.7,
            "description": "share of the steps at which v is final",
        },
        "threshold": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.1,
            "description": "final tau of the soft form",
        },
        "penalty": {
            "type": "number",
            "minimum": 0,
            "default": 400,
            "description": "final weight of the soft form's penalty",
        },
    },
}
LEAST = 0.005  # share that the soft form always keeps


def check(settings):
    """Raise UserError for settings that contradict each other."""
    check_ends("movement", SCHEMA, settings)


def gather(job, steps, batch_size, learning_rate, warmup, score_rate, form, start, end, threshold, penalty):
    """Train weights and scores; name -> scores Z float32 [R, C]."""
    import torch

    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of
    from sparse_continual.training.gradual import cubic, loss_by_blocks, only_matrices, sum_recomputed, train

    first, last, masked = round(start * steps), round(end * steps), straight_through()
    weights = {name: module.weight for name, module in job.linears.items()}
    scores = {n: torch.zeros_like(w, dtype=torch.float32).requires_grad_() for n, w in weights.items()}

    def loss_of(step, rows):
        done = cubic(step, first, last)
        if form == "hard":
            masks = {n: top(matrix_of(job.linears[n], scores[n]), job.counts[n], done) for n in weights}
        else:
            masks = {n: above(matrix_of(job.linears[n], scores[n]), threshold * done) for n in weights}

        def read(name):
            return masked(weights[name], scores[name], matrix_of(job.linears[name], masks[name]))

        loss = loss_by_blocks(job, rows, read)
        if form == "soft":
            mean = sum_recomputed(lambda name: scores[name].sigmoid().mean(), scores) / len(scores)
            loss = loss + penalty * done * mean
        return loss

    with only_matrices(job):
        groups = [
            {"params": list(weights.values()), "lr": learning_rate},
            {"params": list(scores.values()), "lr": score_rate},
        ]
        optimizer = torch.optim.Adam(groups)
        train(job, optimizer, loss_of, steps, batch_size, warmup, seed_of("movement", job.seed))
    return lambda name: matrix_of(job.linears[name], scores[name].detach())


def largest(scores, kept: int):
    """bool [R, C] of the `kept` largest scores."""
    from sparse_continual.pruning.select import keep_largest

    return keep_largest(scores.detach(), kept)


def top(scores, count, done: float):
    """bool [R, C] of the largest scores of existing weights: all at `done` 0, the count's `kept` at `done` 1."""
    from dataclasses import replace

    from sparse_continual.pruning.select import keep

    existing = scores.numel() if count.existing is None else int(count.existing.sum())
    return keep(scores.detach(), replace(count, kept=existing - round((existing - count.kept) * done)))


def above(scores, threshold: float):
    """bool [R, C] where sigmoid(scores) > threshold, or the largest 0.5 % where that would be fewer."""
    mask = scores.detach().sigmoid() > threshold
    least = max(1, round(LEAST * mask.numel()))
    return mask if mask.sum() >= least else largest(scores, least)


def straight_through():
    """Function (weight, scores, mask) -> weight * mask with dL/dscores = dL/d(weight * mask) * weight."""
    import torch

    class Masked(torch.autograd.Function):
        @staticmethod
        def forward(context, weight, scores, mask):
            context.save_for_backward(weight, mask)
            return weight.masked_fill(~mask, 0)

        @staticmethod
        def backward(context, gradient):
            weight, mask = context.saved_tensors
            return gradient.masked_fill(~mask, 0), (gradient * weight).float(), None

    return Masked.apply


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: scores Z, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(evidence, count), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    check=check,
    passes=passes,
    patterns=("unstructured",),
    allocations=("uniform", "erk", "owl"),
    needs_calibration=True,
)
