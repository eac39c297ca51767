"""maskllm: learns which N of every M weights are kept, with the weights frozen (Fang et al. 2024, arXiv
2409.17481). Written from the paper: the licence of the published code is not a free one.

Per group, logits g over the C(M, N) masks c_i with N ones, in the order 1100, 1010, 1001, 0110, ... Forward: p =
softmax((kappa g + Gumbel noise) / tau), weights times sum_i p_i c_i, which always sums to N. tau falls from 4 to 0.05
and kappa rises from 100 to 500, linearly. Loss: language modelling minus w_t sum ||W * mask||^2, w_t = `reward` (1 -
t / steps), which keeps gradients alive by keeping large weights. In the end each group takes its largest g. The
mask M0 of a `prior` method (without its weights) biases the start: g += strength * std(g) * (<c_i, M0> - N^2 / M).

Knobs: `calibration` (the rows that it trains on), `steps`, `batch_size`, `learning_rate` (of g), `warmup`,
`prior`, `strength`, `reward`, `decay`. `reward` is summed over the model: rescale it for other sizes. The authors
use 2000 steps of 256 x 4096 tokens. Cost: one training run without gradients of weights, with two forward passes of the
blocks; 24 bytes per weight at 2:4 for g and its moments. Limits: overfits on few tokens: check the loss on held-out
text.
"""

from math import comb

from sparse_continual.errors import UserError
from sparse_continual.pruning.method import Method
from sparse_continual.topologies.counts import parse_pattern
from sparse_continual.training import gradual
from sparse_continual.training.gradual import SETTINGS

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **SETTINGS,
        "learning_rate": {
            **SETTINGS["learning_rate"],
            "default": 5e-4,
            "description": "highest learning rate of the logits",
        },
        "prior": {
            "type": "string",
            "default": "magnitude",
            "description": "method of the initial mask, or none",
        },
        "strength": {"type": "number", "minimum": 0, "default": 3, "description": "of the prior"},
        "reward": {
            "type": "number",
            "minimum": 0,
            "default": 1e-5,
            "description": "initial weight of the kept magnitudes",
        },
        "decay": {
            "type": "number",
            "minimum": 0,
            "default": 0.1,
            "description": "weight decay of the logits",
        },
    },
}
TAU, KAPPA = (4.0, 0.05), (100.0, 500.0)
SPREAD = 0.01  # standard deviation of the initial logits
MOST = 70  # masks per group: 4:8


def based_on(settings):
    """Names of the methods that these settings use."""
    prior = settings.get("prior", SCHEMA["properties"]["prior"]["default"])
    return [prior] if prior != "none" else []


def check(settings):
    """Raise UserError when there are too many masks to learn."""
    kept, of = parse_pattern(settings["pattern"])
    if comb(of, kept) > MOST:
        raise UserError(
            f"method maskllm: pattern {kept}:{of} has {comb(of, kept)} masks per group, expected at most {MOST}"
        )


def passes(options, text):
    """Passes of the training (pruning/cost.py) and of the prior's method."""
    total = gradual.passes(options, text)
    for prior in based_on(options):
        total += text.of(prior, {})
    return total


def gather(job, steps, batch_size, learning_rate, warmup, prior, strength, reward, decay):
    """Train the logits; name -> logits float32 [groups, masks]."""
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

    seed = seed_of("maskllm", job.seed)
    kept, of = next(iter(job.counts.values())).groups
    candidates = masks_of(kept, of).to(job.model.device)
    barred = {name: wasteful(mask, candidates) for name, mask in job.existing.items()}
    generator = torch.Generator(job.model.device).manual_seed(seed)
    weights = {name: matrix_of(module).detach() for name, module in job.linears.items()}
    first = prior_masks(job, prior) if prior != "none" else {}
    logits = {}
    for name, weight in weights.items():
        shape = (weight.numel() // of, len(candidates))
        drawn = SPREAD * torch.randn(shape, generator=generator, device=weight.device)
        if first:
            drawn += tipped(candidates, first.pop(name).reshape(-1, of), strength * drawn.std())
        logits[name] = drawn.requires_grad_()

    def chances(name, values):
        """Softmax of `values` [groups, masks] over the masks that keep as many existing weights as they can."""
        return (values.masked_fill(barred[name], -torch.inf) if name in barred else values).softmax(1)

    def loss_of(step, rows):
        done = step / max(1, steps - 1)
        tau, kappa = (begin + (end - begin) * done for begin, end in (TAU, KAPPA))

        def masked(name):
            weight = weights[name]
            noise = -(-uniform(logits[name].shape, weight.device, seed, step, name).log()).log()
            soft = chances(name, (kappa * logits[name] + noise.clamp(-30, 30)) / tau) @ candidates
            return weight * soft.view(weight.shape).to(weight.dtype)

        large = sum_recomputed(lambda name: masked(name).square().sum(), weights)
        loss = loss_by_blocks(job, rows, lambda name: matrix_of(job.linears[name], masked(name)))
        return loss - reward * (1 - step / steps) * large

    with only_matrices(job):
        for module in job.linears.values():
            module.weight.requires_grad_(False)
        optimizer = torch.optim.AdamW(
            list(logits.values()), lr=learning_rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=decay
        )
        train(job, optimizer, loss_of, steps, batch_size, warmup, seed)
    sharp = [chances(n, KAPPA[1] * g.detach() / TAU[1]).amax(1).mean().item() for n, g in logits.items()]
    job.facts["sharpness"] = sum(sharp) / len(sharp)  # mean largest probability; 1: every group has decided
    return lambda name: logits[name].detach()


def masks_of(kept: int, of: int):
    """float32 [masks, of]: every mask with `kept` ones, in descending lexical order."""
    from itertools import combinations

    import torch

    places = list(combinations(range(of), kept))
    masks = torch.zeros(len(places), of)
    for number, ones in enumerate(places):
        masks[number, list(ones)] = 1
    return masks


def wasteful(existing, candidates):
    """bool[groups, masks]: masks of `candidates` that keep fewer of a group's existing weights than they could;
    existing: bool[R, C].
    """
    hits = existing.reshape(-1, candidates.shape[1]).to(candidates.dtype) @ candidates.T
    return hits < hits.amax(1, keepdim=True)


def tipped(candidates, first, strength):
    """[groups, masks]: the term that a prior mask [groups, M] adds to the logits."""
    kept, of = candidates[0].sum(), candidates.shape[1]
    return strength * (first.to(candidates.dtype) @ candidates.T - kept**2 / of)


def prior_masks(job, prior: str) -> dict:
    """Name -> bool[R, C] by the method `prior` with its defaults; the model does not change."""
    from copy import copy

    from sparse_continual import registry
    from sparse_continual.models.load import matrix_of
    from sparse_continual.pruning.check import options_of

    method, other = registry.load("pruning.methods", prior), copy(job)
    other.masks, other.notes, other.facts = {}, {}, {}
    options = options_of(f"method {prior}", registry.schema("pruning.methods", prior), {})
    before = {name: module.weight.clone() for name, module in job.linears.items()}
    other.gather(method, options)
    other.run(method, options)
    for name, module in job.linears.items():
        module.weight.copy_(before[name])
    return {name: matrix_of(job.linears[name], mask) for name, mask in other.masks.items()}


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: logits [groups, masks], `count`: a `counts.Count`."""
    import torch

    if not torch.isfinite(evidence).all():
        raise UserError("logits of masks are NaN or infinite; lower `learning_rate`")
    candidates = masks_of(*count.groups).to(evidence.device)
    if count.existing is not None:
        evidence = evidence.masked_fill(wasteful(count.existing, candidates), -torch.inf)
    chosen = candidates.bool()[evidence.argmax(1)]
    return chosen.view(weight.shape), weight


METHOD = Method(
    prune_matrix,
    gather=gather,
    check=check,
    based_on=based_on,
    passes=passes,
    patterns=("N:M",),
    needs_calibration=True,
)
