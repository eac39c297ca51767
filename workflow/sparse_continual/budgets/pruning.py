"""Tokens and FLOPs of the passes through a model while its topology is made."""

from sparse_continual.errors import UserError
from sparse_continual.pruning.cost import planned
from sparse_continual.training.arithmetic import Shape, costs, forward_flops, training_flops

NOTHING = dict.fromkeys(("method_forward_tokens", "method_backward_tokens", "method_flops"), 0)


def making(topology: dict, shape: Shape, text: dict | None) -> dict[str, float]:
    """method_forward_tokens, method_backward_tokens (through all blocks) and method_flops of one model.

    topology: settings as for `pruning.cost.planned`; text: {sequences, tokens, written} of the text that is read, None
    if none is. FLOPs are executed ones, those of the dense model, None if they are not known; embeddings, head and
    norms get no gradient.
    """
    if not text:
        return NOTHING
    passes, tokens = planned(topology, shape.settings(), **text), text["tokens"]
    try:
        block = costs(shape, tokens)
    except UserError:
        flops = None
    else:
        flops = (
            passes.trained * training_flops(shape, tokens, ends_trained=False)
            + passes.written * forward_flops(shape, tokens)["total"]
            + passes.read * block.block_forward
            + passes.learnt * block.block_backward
        )
    return {
        "method_forward_tokens": passes.trained + passes.written + passes.read / shape.layers,
        "method_backward_tokens": passes.trained + passes.learnt / shape.layers,
        "method_flops": flops,
    }
