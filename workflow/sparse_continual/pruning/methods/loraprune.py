"""loraprune: removes whole heads and MLP channels while it trains a low-rank adapter, by an importance that uses only
the adapter's gradients (Zhang et al. 2023, arXiv 2305.18403; aim-uofa/LoRAPrune). The result is a smaller dense
model (`export: compact`).

W is frozen, W' = W + alpha / r * B A. G = gB A + B gA - gB gA (minus the change of B A in one descent step of rate 1)
replaces the gradient of W. The importance |G * W'| is summed over a line (columns of o and down, rows elsewhere; a head
is all its lines), divided by its norm over the matrix, summed over attention or MLP, and averaged over steps (0.9 old +
0.1 new). Every `every` steps the lowest groups of each block are masked; their share rises from 0 to `sparsity` as a
cubic over the middle 80 % of the steps; masked groups stay masked. The final count is exact (the authors stop short of
it); B A is merged.

Knobs: `calibration` (the rows that it trains on), `steps`, `batch_size`, `learning_rate` (of A and B), `warmup`,
`rank`, `alpha`, `every`, `export`, `first`, `last`. The authors skip the first tenth of the blocks and the last one,
which needs `export: masked`. Cost: one adapter training run, with two forward passes of the blocks, and six products of
R x C per matrix and step; the gradient of W is never stored. Limits: as llm_pruner; queries go with the keys that they
read.
"""

from sparse_continual.pruning.method import Method
from sparse_continual.topologies.structured_counts import SETTINGS as EXPORT
from sparse_continual.topologies.structured_counts import trial_passes
from sparse_continual.training.gradual import SETTINGS
from sparse_continual.training.gradual import passes as training_passes

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **SETTINGS,
        "rank": {"type": "integer", "minimum": 1, "default": 8, "description": "of B A"},
        "alpha": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 16,
            "description": "B A is scaled by alpha / rank",
        },
        "every": {
            "type": "integer",
            "minimum": 1,
            "default": 10,
            "description": "steps between two updates of the mask",
        },
        **EXPORT,
    },
}
KEEP = 0.9  # of the old importance


def passes(options, text):
    """Passes of the training and of the trial of the export (pruning/cost.py)."""
    return training_passes(options, text) + trial_passes(options, text)


def prune_model(
    job, sparsity, steps, batch_size, learning_rate, warmup, rank, alpha, every, export, first, last
):
    """Train adapters, prune every block by lines, merge."""
    import torch

    from sparse_continual.identity import seed_of
    from sparse_continual.pruning import structured
    from sparse_continual.topologies.structured_counts import pruned_blocks
    from sparse_continual.training.gradual import cubic, loss_by_blocks, only_matrices, train

    layers = structured.layers(job.model, job.linears)
    chosen = pruned_blocks(layers, first, last, export)
    targets = {layer.block: layer.left(sparsity) for layer in chosen}
    seed, device = seed_of("loraprune", job.seed), job.model.device
    generator = torch.Generator().manual_seed(seed)
    weights = {name: module.weight.detach() for name, module in job.linears.items()}
    downs, ups = {}, {}
    for name, weight in weights.items():
        rows, columns = weight.shape
        drawn = (2 * torch.rand(rank, columns, generator=generator) - 1) / columns**0.5
        downs[name] = drawn.to(weight.device).requires_grad_()
        ups[name] = torch.zeros(rows, rank, device=weight.device).requires_grad_()
    scale = alpha / rank
    # per block, of attention and of the MLP: the remaining groups, and their importance
    kinds = (structured.ATTENTION, structured.MLP)
    alive = {
        (layer.block, parts): layer.alive(parts, job.existing, device) for layer in chosen for parts in kinds
    }
    left = dict(alive)
    importance = {key: torch.zeros(len(groups), device=device) for key, groups in left.items()}

    def merged(name):
        whole = weights[name] + scale * (ups[name] @ downs[name]).to(weights[name].dtype)
        return whole.masked_fill(~job.existing[name], 0) if name in job.existing else whole

    places = {
        layer.names[part]: (layer, parts, part) for layer in chosen for parts in kinds for part in parts
    }

    def read(name):
        """The trained matrix, without its masked lines."""
        if name not in places:
            return merged(name)
        layer, parts, part = places[name]
        lines = layer.spread(part, left[layer.block, parts])
        return merged(name).masked_fill(
            ~structured.mask_of(weights[name], (lines, part in structured.INWARD)), 0
        )

    def weigh():
        """Add this step's importance to the average. Called before the optimizer's step."""
        for layer in chosen:
            for parts in kinds:
                total = 0
                for part in parts:
                    name = layer.names[part]
                    slope = slope_of(ups[name], downs[name], ups[name].grad, downs[name].grad)
                    each = (slope * merged(name)).detach().abs().sum(0 if part in structured.INWARD else 1)
                    groups = layer.lines(part, each)
                    total = total + groups / groups.norm().clamp_min(1e-30)
                key = layer.block, parts
                importance[key] = KEEP * importance[key] + (1 - KEEP) * total.masked_fill(~left[key], 0)

    def cut(share):
        """Mask the lowest groups: `share` of the groups that are removed in the end."""
        for layer in chosen:
            for parts, kept in zip(kinds, targets[layer.block], strict=True):
                key = layer.block, parts
                gone = int((len(left[key]) - kept) * share)
                scores = importance[key].masked_fill(~left[key], -1)  # masked groups stay masked
                left[key] = structured.best(scores, len(left[key]) - gone, alive[key])

    def after(step):
        if (step + 1) % every == 0:
            cut(cubic(step + 1, round(0.1 * steps), round(0.9 * steps)))

    with only_matrices(job):
        for module in job.linears.values():
            module.weight.requires_grad_(False)
        optimizer = torch.optim.AdamW([*downs.values(), *ups.values()], lr=learning_rate, weight_decay=0.0)
        optimizer.register_step_pre_hook(lambda *arguments: weigh())
        train(
            job,
            optimizer,
            lambda step, rows: loss_by_blocks(job, rows, read),
            steps,
            batch_size,
            warmup,
            seed,
            after,
        )
    cut(1)
    for layer in layers:
        if layer.block in targets:
            kept = [left[layer.block, parts] for parts in kinds]
        else:
            kept = [
                torch.ones(many, dtype=torch.bool, device=device) for many in (layer.heads, layer.channels)
            ]
        for name in layer.names.values():
            job.linears[name].weight.copy_(merged(name).detach())
        structured.write(job, prune_matrix, layer, *kept)


def slope_of(up, down, up_gradient, down_gradient):
    """[R, C]: minus the change of B A [R, r] x [r, C] in one descent step of rate 1 on both."""
    return (up_gradient @ down + up @ down_gradient - up_gradient @ down_gradient).detach()


def prune_matrix(weight, evidence, count):
    """(mask bool[R, C], weight) of one matrix; `evidence`: (bool per kept line, whether lines are columns)."""
    from sparse_continual.pruning.structured import mask_of

    return mask_of(weight, evidence), weight


METHOD = Method(
    prune_matrix,
    prune_model=prune_model,
    passes=passes,
    patterns=("structured",),
    needs_calibration=True,
)
