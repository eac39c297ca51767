"""gmp: gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878).

Every `every` steps from `start` on, sparsity rises as s_f + (s_i - s_f) (1 - (t - t0) / (t1 - t0))^3 to its final
value at `end`, both shares of `steps`. Each update removes the smallest remaining weights per matrix (N:M: whole
weights per group), and training continues under the mask. The authors keep the values behind the mask, so that weights
can return. Here a removed weight is gone, and masks are nested.

Knobs: `calibration` (the rows that it trains on), `steps`, `batch_size`, `learning_rate`, `warmup`, `initial`,
`start`, `end`, `every`. The last update should come while the rate is still high. Cost: one training run, with two
forward passes of the blocks. Limits: only the matrices are trained; on few rows it overfits.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.training.gradual import SETTINGS, check_ends, passes

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **SETTINGS,
        "initial": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0,
            "description": "sparsity of the first update",
        },
        "start": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.1,
            "description": "first update",
        },
        "end": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.7,
            "description": "last update",
        },
        "every": {"type": "integer", "minimum": 1, "default": 10, "description": "steps between two updates"},
    },
}


def check(settings):
    """Raise UserError for settings that contradict each other."""
    check_ends("gmp", SCHEMA, settings)


def gather(job, steps, batch_size, learning_rate, warmup, initial, start, end, every):
    """Train the model while pruning it; name -> mask bool[R, C] at the end."""
    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of
    from sparse_continual.training.gradual import loss_by_blocks, only_matrices, train
    from sparse_continual.training.loop import adamw

    first, last = round(start * steps), round(end * steps)
    masks = {name: job.existing.get(name) for name in job.linears}

    def update(step):
        for name in job.linears:
            count = interim(job.counts[name], job.linears[name].weight.numel(), step, first, last, initial)
            masks[name] = job.prune_one(prune_matrix, name, masks[name], count=count)

    def after(step):
        if step + 1 == last or first <= step + 1 < last and (step + 1 - first) % every == 0:
            update(step + 1)
        else:
            for name, module in job.linears.items():  # remove what the optimizer's moments wrote there
                if masks[name] is not None:
                    matrix_of(module).masked_fill_(~masks[name], 0)

    with only_matrices(job):
        if first == 0:
            update(0)
        optimizer = adamw([module.weight for module in job.linears.values()], learning_rate)
        train(
            job,
            optimizer,
            lambda step, rows: loss_by_blocks(job, rows),
            steps,
            batch_size,
            warmup,
            seed_of("gmp", job.seed),
            after,
        )
    return masks.get


def interim(count, weights: int, step: int, first: int, last: int, initial=0.0):
    """The `counts.Count` of a matrix of `weights` at an update in `step`; weights that never existed stay absent."""
    from sparse_continual.topologies.counts import Count
    from sparse_continual.training.gradual import cubic

    done = cubic(step, first, last)
    if count.groups:
        kept, of = count.groups
        gone = round(initial * of + (of - kept - initial * of) * done)
        gone = min(max(gone, 0), of - kept)
        return Count(weights // of * (of - gone), (of - gone, of), existing=count.existing)
    existing = weights if count.existing is None else int(count.existing.sum())
    gone = existing - count.kept
    begun = min(max(initial * weights - (weights - existing), 0), gone)
    return Count(existing - round(begun + (gone - begun) * done), existing=count.existing)


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: bool[R, C] of the remaining weights, or None for all."""
    from sparse_continual.pruning.select import keep

    scores = weight.float().abs()
    return keep(scores if evidence is None else scores.masked_fill(~evidence, -1), count), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    check=check,
    passes=passes,
    patterns=("unstructured", "N:M"),
    allocations=("uniform", "erk", "owl"),
    needs_calibration=True,
)
