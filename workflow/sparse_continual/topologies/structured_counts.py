"""Settings common to the methods that remove whole heads and channels, and exact counts from shapes alone, known
before there is a model. Pure Python: the planner imports this.
"""

from fractions import Fraction

from sparse_continual.errors import UserError
from sparse_continual.topologies.density import layer_of

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
SETTINGS = {
    "export": {
        "enum": ["compact", "masked"],
        "default": "compact",
        "description": "compact: the model becomes a smaller dense one; masked: same shapes, whole lines absent",
    },
    "first": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "number of first blocks that are not pruned",
    },
    "last": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "number of last blocks that are not pruned",
    },
}
TRIAL = 32  # tokens of the first calibration row that test the export (topologies/compact.py)


def trial_passes(options: dict, text):
    """Passes of the trial of the export (pruning/cost.py)."""
    return text.passes(written=(3 if options["export"] == "compact" else 1) * min(TRIAL, text.tokens))


def kept_groups(name: str, heads: int, channels: int, sparsity) -> tuple[int, int]:
    """(head groups, channels) that a block keeps: removed heads are rounded down to whole groups, channels up.

    heads: number of key-value heads; name: of the block's gate matrix, for messages.

    Raises UserError for a sparsity outside [0, 1), or one that leaves no channel.
    """
    if sparsity is None or not 0 <= sparsity < 1:
        raise UserError(f"sparsity {sparsity}: pattern structured needs a sparsity with 0 <= sparsity < 1")
    share = 1 - Fraction(str(sparsity))
    left = int(channels * share)
    if not left:
        raise UserError(f"{name}: sparsity {sparsity} leaves no channel; choose a smaller one")
    return heads - int(heads * (1 - share)), left


def pruned_blocks(blocks: list, first: int, last: int, export: str) -> list:
    """The blocks that are pruned. Raises UserError if there are none, or if a compact model would need two widths."""
    chosen = blocks[first : len(blocks) - last]
    if not chosen:
        raise UserError(
            f"found first {first} and last {last} of {len(blocks)} blocks left whole: none is pruned"
        )
    if export == "compact" and len(chosen) < len(blocks):
        raise UserError(
            f"found first {first} and last {last} blocks left whole with export compact: a config holds one width "
            "for all blocks; use export: masked"
        )
    return chosen


def kept_weights(
    sizes: dict[str, tuple[int, int]], heads: int | dict[int, int], sparsity, export, first, last
) -> dict[str, int]:
    """Name -> number of kept weights of each matrix of `sizes` (name -> (rows, columns)) of a Llama-like model.

    heads: number of key-value heads, each with its queries, for every block or by block number; the others as in
    SETTINGS.

    Raises UserError as `kept_groups` and `pruned_blocks`, and for blocks with another structure.
    """
    blocks = sorted({layer_of(name) for name in sizes})
    heads = heads if isinstance(heads, dict) else dict.fromkeys(blocks, heads)
    _check_modules(sizes, heads)
    pruned = pruned_blocks(blocks, first, last, export)
    gates = {layer_of(name): name for name in sizes if MLP[0] in name}
    kept = {}
    for name, (rows, columns) in sizes.items():
        gate = gates[layer_of(name)]
        channels = sizes[gate][0]
        groups = heads[layer_of(name)]
        left = kept_groups(gate, groups, channels, sparsity if layer_of(name) in pruned else 0)
        if name.split(".")[-2] in ATTENTION:
            kept[name] = rows * columns // groups * left[0]
        else:
            kept[name] = rows * columns // channels * left[1]
    return kept


def _check_modules(sizes: dict[str, tuple[int, int]], heads: dict[int, int | None]) -> None:
    """Raise UserError naming the first block without exactly one matrix each of ATTENTION and MLP, or whose keys do not
    divide into its `heads`.
    """
    blocks = {}
    for name in sizes:
        blocks.setdefault(layer_of(name), []).append(name)
    for block, names in blocks.items():
        modules = [name.split(".")[-2] for name in names]
        if sorted(modules) != sorted((*ATTENTION, *MLP)):
            raise UserError(
                f"{names[0]}: found {len(names)} matrices in its block, {', '.join(modules)}; structured pruning "
                f"expects one each of {', '.join(ATTENTION + MLP)}"
            )
        keys = next(name for name in names if name.split(".")[-2] == ATTENTION[1])
        if not heads[block] or sizes[keys][0] % heads[block]:
            raise UserError(
                f"{keys}: has {sizes[keys][0]} rows, and the config says {heads[block] or 'nothing'} of "
                "num_key_value_heads; structured pruning expects whole heads of keys in every block"
            )
