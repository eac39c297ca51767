"""Parameters, FLOPs and bytes of a decoder from its shape alone: no weights, no torch.

For a generated Llama the numbers follow from its widths, by the formulas in `parameters`, `topologies.counts.matrices`
and `costs`. For every other base they were counted on its own class (`models.shape`) and are in `Shape.counted`. The
rest is the same for both.

Conventions: a multiply-add is 2 FLOPs; look-ups, norms, softmax, rotary embeddings and activation functions count
nothing; attention counts the full square; the head counts at the positions whose logits are computed. *Theoretical*
FLOPs count the weights that exist, *executed* FLOPs the work of dense kernels. The difference is 2 FLOPs for every
absent weight and token in the forward pass, and as many for each of the two gradients. The forward and training
formulas equal torch's FlopCounterMode on eager attention (a test), except the rotary table's s*d per call.
"""

import math
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property

from sparse_continual.errors import UserError
from sparse_continual.topologies.counts import matrices

FLOAT, MOMENTS = 4, 8  # bytes per float32 value, and of AdamW's two moments for it


@dataclass(frozen=True)
class Shape:
    """Widths of a decoder. `family` is "llama" (gated MLP, no biases) or "phi" (two-matrix MLP, biases), by formulas.

    `counted`: the numbers counted on the base's own class (`models.shape.shape_of_config`). If it is set, nothing is
    computed from the widths; they only inform readers, and are None if the family has no such number; `family` is the
    model_type.
    """

    hidden_size: int
    intermediate_size: int | None
    layers: int
    heads: int | None
    kv_heads: int | None
    vocabulary: int
    tied: bool = True
    head_size: int | None = None
    family: str = "llama"
    counted: dict | None = None

    @cached_property
    def head(self) -> int:
        """Size d of one attention head."""
        return self.head_size or self.hidden_size // self.heads

    @cached_property
    def attention(self) -> int:
        """Weights of one layer's q, k, v and o."""
        return 2 * self.hidden_size * self.head * (self.heads + self.kv_heads)

    @cached_property
    def prunable(self) -> int:
        """P: weights of all linears inside the blocks."""
        if self.counted:
            return self.counted["parameters"]["prunable"]
        mlp = (2 if self.family == "phi" else 3) * self.hidden_size * self.intermediate_size
        return self.layers * (self.attention + mlp)

    @property
    def aspect(self) -> float:
        """intermediate_size / hidden_size."""
        return self.intermediate_size / self.hidden_size

    def settings(self) -> dict:
        """The shape as a plain dict without optional keys that are unset."""
        optional = {field.name for field in fields(self) if field.default is not MISSING}
        return {key: value for key, value in asdict(self).items() if value is not None or key not in optional}


@dataclass(frozen=True)
class Costs:
    """FLOPs per token of everything except the prunable matrices, on rows of one length.

    rest: of a forward pass through the blocks. rest_trained, rest_frozen: of forward and backward, with trained and
    with frozen ends. head: forward, if all logits are computed. unread: names of the matrices whose input needs no
    gradient with frozen ends. block_forward, block_backward: of a mean block with all its weights, without gradients to
    the blocks before it.
    """

    rest: float
    rest_trained: float
    rest_frozen: float
    head: float
    unread: tuple[str, ...]
    block_forward: float
    block_backward: float


def costs(shape: Shape, tokens: int) -> Costs:
    """`Costs` on rows of `tokens`.

    Raises UserError if they should have been counted and could not be, with the reason.
    """
    weights = 2 * shape.prunable
    if not shape.counted:
        inputs = 2 * shape.hidden_size * shape.head * (shape.heads + 2 * shape.kv_heads)
        attention = 4 * tokens * shape.head * shape.heads * shape.layers
        block = (weights + attention) // shape.layers
        return Costs(
            attention,
            3 * attention,
            3 * attention,
            2 * shape.hidden_size * shape.vocabulary,
            tuple(matrices({**asdict(shape), "layers": 1}))[:3],  # q, k, v of layer 0
            block,
            2 * block - inputs,
        )
    counted = shape.counted.get("flops", {}).get(str(tokens), f"rows of {tokens} tokens were not counted")
    if isinstance(counted, str):
        raise UserError(f"FLOPs of a {shape.family} model are not known: {counted}")
    unread = 2 * sum(math.prod(shape.counted["matrices"][name]) for name in counted["unread"])
    return Costs(
        _whole(counted["body"] / tokens - weights),
        _whole(counted["trained"] / tokens - 3 * weights),
        _whole(counted["frozen"] / tokens - 3 * weights + unread),
        _whole(counted["head"] / tokens),
        tuple(counted["unread"]),
        _whole(counted["body"] / tokens / shape.layers),
        _whole(counted["blocks"] / tokens / shape.layers),
    )


def parameters(shape: Shape) -> dict[str, int]:
    """Counts by group: prunable, embedding, head (0 if tied), norms, biases, total; and `other` if counted."""
    if shape.counted:
        return dict(shape.counted["parameters"])
    h, layers = shape.hidden_size, shape.layers
    embedding = shape.vocabulary * h
    groups = {"prunable": shape.prunable, "embedding": embedding, "head": 0 if shape.tied else embedding}
    if shape.family == "phi":
        groups |= {"norms": 2 * h * (layers + 1), "biases": layers * (5 * h + shape.intermediate_size)}
        groups["biases"] += shape.vocabulary
    else:
        groups |= {"norms": (2 * layers + 1) * h, "biases": 0}
    return groups | {"total": sum(groups.values())}


def ends(shape: Shape) -> int:
    """Values outside the prunable matrices: embedding, head, norms, biases."""
    return parameters(shape)["total"] - shape.prunable


def head_share(row_tokens: int, answer_tokens: int) -> float:
    """Share of a row's positions at which logits are computed: training needs only those of the answer."""
    return min(1.0, answer_tokens / row_tokens)


def forward_flops(shape: Shape, tokens: int, weights: int | None = None, head: float = 1.0) -> dict:
    """FLOPs per token of a forward pass over sequences of `tokens`.

    `weights`: nonzeros N for theoretical FLOPs; None counts all P (executed). `head`: share of positions with computed
    logits. Keys: linears, attention (full square, and everything else in counted blocks), head, total.

    Raises UserError as `costs`.
    """
    cost = costs(shape, tokens)
    parts = {
        "linears": 2 * (shape.prunable if weights is None else weights),
        "attention": cost.rest,
        "head": _whole(cost.head * head),
    }
    return parts | {"total": sum(parts.values())}


def training_flops(
    shape: Shape,
    tokens: int,
    weights: int | None = None,
    trained: int | None = None,
    ends_trained: bool = True,
    head: float = 1.0,
) -> float:
    """FLOPs per token of a training step: 3 x forward, minus the gradients that are not needed.

    `weights` as in `forward_flops`; `trained`: number of weights with a gradient (default all). With frozen ends the
    head's weight gradient and the gradient of the first matrices' input (layer 0's q, k, v) are not computed.

    Raises UserError as `costs`.
    """
    cost = costs(shape, tokens)
    weights = shape.prunable if weights is None else weights
    return _whole(
        4 * weights
        + 2 * (weights if trained is None else trained)
        + _beside(shape, cost, weights, ends_trained, head)
    )


def _beside(shape: Shape, cost: Costs, weights: int, ends_trained: bool, head: float) -> float:
    """FLOPs per token of a training step besides 6 a weight; unread inputs are scaled by the density of `weights`."""
    if ends_trained:
        return cost.rest_trained + 3 * _whole(cost.head * head)
    sizes = matrices(asdict(shape))
    unread = 2 * sum(math.prod(sizes[name]) for name in cost.unread)
    return cost.rest_frozen + 2 * _whole(cost.head * head) - unread * weights / shape.prunable


def lora_values(shape: Shape, rank: int) -> int:
    """a: values of rank-`rank` adapters on every block linear, sum of rank * (inputs + outputs)."""
    return sum(rank * (rows + columns) for rows, columns in matrices(asdict(shape)).values())


def lora_training_flops(
    shape: Shape,
    tokens: int,
    rank: int,
    weights: int | None = None,
    ends_trained: bool = False,
    head: float = 1.0,
) -> float:
    """FLOPs per token of a training step of adapters beside a frozen base, on every block linear.

    4 weights + 3 attention + 6 a, and 4 h V for a frozen head. With frozen ends the first matrices (layer 0's q, k, v)
    and the first factors of their adapters need no gradient of their input.

    Raises UserError as `costs`.
    """
    cost = costs(shape, tokens)
    weights = shape.prunable if weights is None else weights
    adapters = 6 * lora_values(shape, rank)
    if not ends_trained:
        sizes = matrices(asdict(shape))
        adapters -= 2 * rank * sum(sizes[name][1] for name in cost.unread)
    return _whole(4 * weights + adapters + _beside(shape, cost, weights, ends_trained, head))


def masked_lora_training_flops(
    shape: Shape,
    tokens: int,
    rank: int,
    step_tokens: int,
    weights: int | None = None,
    ends_trained: bool = False,
    head: float = 1.0,
) -> float:
    """FLOPs per token of adapters inside the weights, W + mask x (B A), in steps of `step_tokens` tokens.

    The step computes the gradient of every existing weight, and B A and its two gradients once.

    Raises UserError as `costs`.
    """
    weights = shape.prunable if weights is None else weights
    merging = 6 * rank * weights / step_tokens
    return training_flops(shape, tokens, weights, ends_trained=ends_trained, head=head) + merging


def _whole(value: float) -> float:
    """`value` as an integer if it is whole: counts stay exact."""
    return int(value) if value == int(value) else value


def optimizer_bytes(trained: int) -> int:
    """AdamW's two float32 moments of the trained values."""
    return MOMENTS * trained


def checkpoint_bytes(trained: int) -> int:
    """One task's saved weights: the trained float32 values. The mask is stored once, with the base."""
    return FLOAT * trained
