"""imp: train, prune a fifth of what is left, put the rest back to where it was early in training, again and again
(the lottery ticket, Frankle & Carbin 2019, arXiv 1803.03635; with rewinding, 1903.01611 and 1912.05671;
facebookresearch/open_lth).

Per level: train to the end; the `rate` smallest |w| of the living weights of all matrices go (allocation `global`,
the only one), n -> n - ceil(rate n), at the last level down to the exact count; the living weights return to their
values at step `rewind` * steps of the first training, and training begins again there with a fresh optimizer
and the same rows. The result is the weights after the last training.

The authors keep one weight too many per level (a threshold); counts here are exact, masks nested.

Knobs: `calibration` (the rows that are trained on), `steps`, `batch_size`, `learning_rate`, `warmup`, `rate`, `rewind`
(0: back to the start). Cost: levels + 1 training runs, blocks twice forward: at 90 % sparsity 12 of them. Limits: only
the matrices are trained; a lottery ticket of a pretrained model is not what the papers are about.
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
            "description": "share of the living weights that go per level",
        },
        "rewind": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.02,
            "description": "share of the steps after which weights are as they return",
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
        for name, weight in weights.items():  # what the optimizer's moments have written there
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
    """What the trainings have pass (pruning/cost.py): one from the start, one per level from where it rewinds."""
    again = options["steps"] - round(options["rewind"] * options["steps"])
    steps = options["steps"] + len(levels(text.weights, text.kept, options["rate"])) * again
    return gradual.passes(options, text, steps)


def levels(weights: int, total: int, rate: float) -> list[int]:
    """Living weights after each level, from `weights` down to `total`."""
    from fractions import Fraction
    from math import ceil

    found, share = [], Fraction(str(rate))
    while weights > total:
        weights = max(total, weights - ceil(share * weights))
        found.append(weights)
    return found


def scores(weight, evidence):
    """float32 [R, C] by which allocation `global` counts what the last level left; `evidence`: its mask."""
    return evidence.float()


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: bool[R, C] of what is left, `count`: a `counts.Count`."""
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
