"""l0: a random gate on every weight, trained to be open or shut (hard concrete; Louizos et al. 2018, arXiv
1712.01312; AMLab-Amsterdam/L0_regularization).

With u uniform in (1e-6, 1 - 1e-6): q = sigmoid((log u - log(1 - u) + a) / b), b = 2/3, gate z = clamp(1.2 q - 0.1, 0,
1); the forward pass reads W * z. P(z != 0) = sigmoid(a - b log(0.1 / 1.1)); its mean over all weights is the expected
density. Gates have no target of their own: the loss has m1 (density - rho) + m2 (density - rho)^2, with m1 and m2
density. Gates have no target of their own: the loss has m1 (density - rho) + m2 (density - rho)^2, with m1 and m2
ascended as a is descended. a stays in [log 1e-2, log 1e2], so P never falls below 0.047. At the end each matrix keeps
its largest a, to the exact count, and gates are folded into the weights: W * clamp(1.2 sigmoid(a) - 0.1, 0, 1).

Knobs: `calibration` (the rows that it trains on), `steps`, `batch_size`, `learning_rate`, `warmup`, `gate_rate`,
`multiplier_rate`, `droprate` (a starts near logit(1 - droprate)). Cost: one training run, with two forward passes of
the blocks; 16 bytes per weight for a. Limits: one gate per weight, not per head or channel; half-open gates shrink the
kept weights, so recovery should follow.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.training.gradual import SETTINGS, passes

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **SETTINGS,
        "gate_rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.1,
            "description": "Adam's learning rate of a",
        },
        "multiplier_rate": {
            "type": "number",
            "minimum": 0,
            "default": 20,
            "description": "ascent rate of m1 and m2",
        },
        "droprate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.1,
            "description": "share of gates that are closed at the start",
        },
    },
}
LOW, HIGH, HEAT = -0.1, 1.1, 2 / 3
EDGE = 1e-6  # of the uniform draws


def gather(job, steps, batch_size, learning_rate, warmup, gate_rate, multiplier_rate, droprate):
    """Train weights and gates; name -> a float32 [R, C]."""
    import math

    import torch

    from sparse_continual.identity import seed_of
    from sparse_continual.models.load import matrix_of
    from sparse_continual.training.gradual import (
        loss_by_blocks,
        only_matrices,
        sum_recomputed,
        train,
        uniform,
    )

    seed = seed_of("l0", job.seed)
    generator = torch.Generator(job.model.device).manual_seed(seed)
    weights = {name: module.weight for name, module in job.linears.items()}
    begin = math.log(1 - droprate) - math.log(droprate)
    openness = {}
    for name, weight in weights.items():
        noise = torch.randn(weight.shape, generator=generator, device=weight.device)
        openness[name] = (begin + 0.01 * noise).requires_grad_()
    multipliers = torch.zeros(2, device=job.model.device).requires_grad_()
    size = sum(weight.numel() for weight in weights.values())

    def expected(name):
        """P(z != 0) of every weight that exists."""
        chances, mask = opened(openness[name]), job.existing.get(name)
        return chances if mask is None else chances.masked_fill(~matrix_of(job.linears[name], mask), 0)

    def loss_of(step, rows):
        def read(name):
            weight = weights[name]
            draw = uniform(weight.shape, weight.device, seed, step, name)
            return weight * gate(openness[name], draw.clamp(EDGE, 1 - EDGE)).to(weight.dtype)

        away = (sum_recomputed(lambda name: expected(name).sum(), openness) - job.total) / size
        return loss_by_blocks(job, rows, read) + multipliers[0] * away + multipliers[1] * away.square()

    def after(step):
        for a in openness.values():
            a.clamp_(math.log(1e-2), math.log(1e2))

    with only_matrices(job):
        groups = [
            {"params": list(weights.values()), "lr": learning_rate},
            {"params": list(openness.values()), "lr": gate_rate},
            {"params": [multipliers], "lr": multiplier_rate, "maximize": True},
        ]
        optimizer = torch.optim.Adam(groups)
        train(job, optimizer, loss_of, steps, batch_size, warmup, seed, after)
    job.facts["expected_density"] = sum(expected(name).sum().item() for name in openness) / size
    return lambda name: matrix_of(job.linears[name], openness[name].detach())


def gate(a, draw):
    """z in [0, 1] of uniform draws."""
    concrete = ((draw.log() - (-draw).log1p() + a) / HEAT).sigmoid()
    return (concrete * (HIGH - LOW) + LOW).clamp(0, 1)


def opened(a):
    """P(z != 0)."""
    import math

    return (a - HEAT * math.log(-LOW / HIGH)).sigmoid()


def settled(a):
    """z at test time."""
    return (a.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight * gate [R, C]) of one matrix; `evidence`: a, `count`: a `counts.Count`."""
    from sparse_continual.pruning.select import keep

    return keep(evidence, count), weight * settled(evidence).to(weight.dtype)


METHOD = Method(
    prune_matrix,
    gather=gather,
    passes=passes,
    patterns=("unstructured",),
    allocations=("uniform", "erk", "owl"),
    needs_calibration=True,
)
