"""Remove whole attention heads and MLP channels: the groups, the choice among them, and the smaller dense model.

A head group is a key-value head with the query heads that read it: rows of q, k, v and columns of o. A channel is a
row of gate, a row of up and a column of down. Groups compete within their block, so all blocks keep equally many.
"""

from dataclasses import dataclass

import torch

from sparse_continual.errors import UserError
from sparse_continual.models.blockwise import block_of
from sparse_continual.topologies.compact import Changes, text_config, tried
from sparse_continual.topologies.counts import Count
from sparse_continual.topologies.density import layer_of, module_of
from sparse_continual.topologies.existing import at_least
from sparse_continual.topologies.structured_counts import (
    ATTENTION,
    MLP,
    SETTINGS,
    kept_groups,
    kept_weights,
    pruned_blocks,
)

INWARD = ("o_proj", "down_proj")  # their lines are columns


@dataclass
class Layer:
    """One block. `names`: part -> weight name; `shapes`: part -> (rows, columns); `heads`: key-value heads of `width`
    rows each; `channels`: of the MLP.
    """

    block: str
    names: dict[str, str]
    heads: int
    width: int
    channels: int
    shapes: dict[str, tuple[int, int]]

    def left(self, sparsity) -> tuple[int, int]:
        """(head groups, channels) that are kept (`export.kept_groups`)."""
        return kept_groups(self.names["gate_proj"], self.heads, self.channels, sparsity)

    def lines(self, part: str, values):
        """[groups]: sums of `values`, one per row of a part (inward: per column), over each group's lines."""
        return values.view(self.heads if part in ATTENTION else self.channels, -1).sum(1)

    def spread(self, part: str, kept):
        """bool per row (inward: per column) of a part, from bool[groups] `kept`."""
        return kept.repeat_interleave(self.size(part) // len(kept))

    def size(self, part: str) -> int:
        """Lines of a part that are pruned together."""
        return self.shapes[part][1 if part in INWARD else 0]

    def alive(self, parts: tuple, existing: dict, device):
        """bool[groups]: heads (`parts` ATTENTION) or channels (MLP) with at least one existing weight; existing: as in
        a `pruning.Job`.
        """
        exists = torch.zeros(
            self.heads if parts == ATTENTION else self.channels, dtype=torch.bool, device=device
        )
        for part in parts:
            mask = existing.get(self.names[part])
            if mask is None:
                return torch.ones_like(exists)
            exists |= self.lines(part, mask.sum(0 if part in INWARD else 1)).to(device) > 0
        return exists


def layers(model, linears: dict) -> list[Layer]:
    """The blocks of a Llama-like model.

    Raises UserError naming a block with another structure.
    """
    blocks = {}
    for name in linears:
        blocks.setdefault(block_of(name), []).append(name)
    blocks_found = []
    for block, members in blocks.items():
        names = {module_of(name): name for name in members}
        if set(names) != {*ATTENTION, *MLP} or len(names) < len(members):
            raise UserError(
                f"{block}: found {len(members)} matrices, {', '.join(names)}; structured pruning expects one each of "
                f"{', '.join(ATTENTION + MLP)}"
            )
        shapes = {part: tuple(linears[name].weight.shape) for part, name in names.items()}
        width = _head_width(model, names["k_proj"], shapes["k_proj"][0])
        blocks_found.append(
            Layer(block, names, shapes["k_proj"][0] // width, width, shapes["gate_proj"][0], shapes)
        )
    return blocks_found


def _head_width(model, name: str, rows: int) -> int:
    """Rows of a head in the key matrix `name`, from its module (blocks may differ) or else from the config."""
    width = getattr(model.get_submodule(name.rsplit(".", 2)[0]), "head_dim", None)
    if isinstance(width, int):
        return width
    config = text_config(model)
    return rows // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def counts(model, linears: dict, sparsity, options: dict, existing: dict) -> dict[str, Count]:
    """Weight name -> Count that a method of these `options` keeps in a Llama-like model, at most: kept lines may lack
    weights already (`existing`: as in a `pruning.Job`).

    Raises UserError as `layers`, for a sparsity or whole blocks that do not fit, and for a sparsity below that of a
    block whose heads or channels are absent already.
    """
    block_layers = layers(model, linears)
    for layer in pruned_blocks(block_layers, options["first"], options["last"], options["export"]):
        _refuse_absent(layer, existing, sparsity)
    shared = {key: options[key] for key in SETTINGS}
    heads = {layer_of(layer.names["k_proj"]): layer.heads for layer in block_layers}
    sizes = {name: tuple(module.weight.shape) for name, module in linears.items()}
    kept = kept_weights(sizes, heads, sparsity, **shared)
    return {name: Count(many, existing=existing.get(name)) for name, many in kept.items()}


def _refuse_absent(layer: Layer, existing: dict, sparsity) -> None:
    """Raise UserError if a block has fewer heads or channels than it would keep."""
    for parts, kept, kind in zip((ATTENTION, MLP), layer.left(sparsity), ("heads", "channels"), strict=True):
        alive = layer.alive(parts, existing, "cpu")
        left, many = int(alive.sum()), len(alive)
        if kept > left:
            raise UserError(
                f"sparsity {sparsity}: the model is pruned already: {many - left} of the {many} {kind} of "
                f"{layer.block} are absent, and sparsity is the final share of absent ones; choose a sparsity of at "
                f"least {at_least(many - left, many)}"
            )


def best(importance, kept: int, alive):
    """bool[groups]: the `kept` most important groups among those that are `alive`; ties go to the first."""
    from sparse_continual.pruning.select import keep_largest

    lowest = torch.finfo(importance.dtype).min
    return keep_largest(importance.masked_fill(~alive, lowest)[None], kept)[0] & alive


def write(job, kernel, layer: Layer, heads, channels) -> None:
    """Prune the matrices of a block to the kept `heads` and `channels`, bool[groups]."""
    for part, name in layer.names.items():
        lines = layer.spread(part, heads if part in ATTENTION else channels)
        job.lines[name] = lines, part in INWARD
        job.prune_one(kernel, name, job.lines[name])


def mask_of(weight, statistics):
    """bool[R, C] from (bool per kept line, whether lines are columns)."""
    lines, inward = statistics
    return (lines[None] if inward else lines[:, None]).expand(weight.shape).clone()


def trial(job, sparsity, options: dict):
    """The `compact.Plan` of a `pruning.Job`, or None (see `compact.tried`). The model does not change."""
    block_layers = layers(job.model, job.linears)
    chosen = [
        layer.block
        for layer in pruned_blocks(block_layers, *(options[k] for k in ("first", "last", "export")))
    ]
    left = {layer.block: layer.left(sparsity if layer.block in chosen else 0) for layer in block_layers}
    return tried(job, block_layers, left, options["export"])


@torch.no_grad()
def compact(job, plan) -> dict:
    """Turn the model of a `pruning.Job` into the smaller dense model of the kept `lines`, by a `plan` from `trial`.

    Returns name -> bool mask of the new shapes: `masks` restricted to the kept lines, True everywhere unless the model
    lacked further weights. Biases of removed lines are removed.
    """
    if plan is None:  # nothing was removed
        return job.masks
    left = {}
    for layer in layers(job.model, job.linears):
        kept = {}
        for parts in (ATTENTION, MLP):
            stays, _ = job.lines[layer.names[parts[0]]]
            kept[parts] = layer.lines(parts[0], stays) > 0
        for name in layer.names.values():
            stays, inward = job.lines[name]
            left[name] = job.masks[name][(slice(None), stays) if inward else stays].contiguous()
        plan.cut(job.model, layer.block, kept, Changes())  # frees the weights of removed lines
    plan.describe(job.model, Changes())
    return left
