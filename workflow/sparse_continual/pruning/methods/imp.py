"""imp: train, prune a fifth of the remaining weights, rewind the others to an early step, and repeat
(the lottery ticket, Frankle & Carbin 2019, arXiv 1803.03635; with rewinding, 1903.01611 and 1912.05671;
facebookresearch/open_lth).

Per level: train to the end; remove the `rate` smallest |w| of the remaining weights of all matrices (allocation
`global`, the only one), n -> n - ceil(rate n), at the last level down to the exact count; rewind the remaining weights
to their values at step `rewind` * steps of the first training; train again from there with a fresh optimizer and the
same rows. The result is the weights after the last training.

The authors keep one weight too many per level (a threshold); counts here are exact, masks nested.

Knobs: `calibration` (the rows that it trains on), `steps`, `batch_size`, `learning_rate`, `warmup`, `rate`, `rewind`
(0: the start). Cost: levels + 1 training runs, with two forward passes of the blocks: 12 runs at 90 % sparsity. Limits:
only the matrices are trained; the papers study networks at their initial weights, not pretrained models.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.training import gradual
from sparse_continual.training.gradual import SETTINGS

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **SETTINGS,
        "rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.2,
            "description": "share of the remaining weights that each level removes",
        },
        "rewind": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.02,
            "description": "rewind point, as a share of the steps",
        },
    },
}


def gather(job, steps, batch_size, learning_rate, warmup, rate, rewind):
    """Train, prune and rewind the model level by level; name -> mask bool[R, C] of the last level."""
    import torch

    from sparse_continual import registry
    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of
    from sparse_continual.topologies.counts import Count, refuse_empty
    from sparse_continual.training.gradual import loss_by_blocks, only_matrices, train
    from sparse_continual.training.loop import adamw

    weights = {name: matrix_of(module) for name, module in job.linears.items()}
    sizes = {name: tuple(weight.shape) for name, weight in weights.items()}
    masks = {
        name: job.existing.get(name, torch.ones(weight.shape, dtype=torch.bool, device=weight.device))
        for name, weight in weights.items()
    }
    room = {name: int(mask.sum()) for name, mask in masks.items()}
    back, early = round(rewind * steps), {}
    allocate = registry.load("pruning.allocations", "global").kept

    def keep_early():
        early.update({name: weight.clone() for name, weight in weights.items()})

    def after(step):
        for name, weight in weights.items():  # remove what the optimizer's moments wrote there
            weight.masked_fill_(~masks[name], 0)
        if step + 1 == back and not early:
            keep_early()

    def living(name):
        return weights[name].float().abs().masked_fill(~masks[name], 0)

    def run(first):
        optimizer = adamw([module.weight for module in job.linears.values()], learning_rate)
        train(
            job,
            optimizer,
            lambda step, rows: loss_by_blocks(job, rows),
            steps,
            batch_size,
            warmup,
            seed_of("imp", job.seed),
            after,
            first,
        )

    if not back:
        keep_early()
    totals = levels(sum(room.values()), job.total, rate)
    job.facts["levels"] = totals
    with only_matrices(job):
        run(0)
        for total in totals:
            counts = refuse_empty(allocate(sizes, total, living), "global", room)
            for name, weight in weights.items():
                masks[name] = prune_matrix(weight, masks[name], Count(counts[name]))[0]
                weight.copy_(early[name].masked_fill(~masks[name], 0))
            run(back)
    return masks.get


def passes(options, text):
    """Passes of the trainings (pruning/cost.py): one from the start, and one per level from the rewind point."""
    again = options["steps"] - round(options["rewind"] * options["steps"])
    steps = options["steps"] + len(levels(text.weights, text.kept, options["rate"])) * again
    return gradual.passes(options, text, steps)


def levels(weights: int, total: int, rate: float) -> list[int]:
    """Remaining weights after each level, from `weights` down to `total`."""
    from fractions import Fraction
    from math import ceil

    remaining, share = [], Fraction(str(rate))
    while weights > total:
        weights = max(total, weights - ceil(share * weights))
        remaining.append(weights)
    return remaining


def scores(weight, evidence):
    """float32 [R, C] by which allocation `global` counts the weights of the last level; `evidence`: its mask."""
    return evidence.float()


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: bool[R, C] of the remaining weights, `count`: a
    `counts.Count`.
    """
    from sparse_continual.pruning.select import keep

    return keep(weight.float().abs().masked_fill(~evidence, -1), count), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    scores=scores,
    passes=passes,
    patterns=("unstructured",),
    allocations=("global",),
    needs_calibration=True,
    at_init=True,
)
