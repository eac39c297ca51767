"""What a topology's method has pass through the model that it is made of: tokens, and FLOPs of these passes alone."""

from dataclasses import replace

from sparse_continual.budgets.arithmetic import Shape, forward_flops, training_flops
from sparse_continual.topologies.passes import planned

NOTHING = dict.fromkeys(("method_forward_tokens", "method_backward_tokens", "method_flops"), 0)


def making(topology: dict, shape: Shape, text: dict | None) -> dict[str, float]:
    """method_forward_tokens, method_backward_tokens (through all blocks) and method_flops of one model.

    topology: settings as `topologies.passes.planned` takes them; text: {sequences, tokens, written} of what is read,
    None where nothing is. FLOPs are executed ones, those of the dense model; embeddings, head and norms get no
    gradient.
    """
    if not text:
        return NOTHING
    passes, tokens = planned(topology, shape.settings(), **text), text["tokens"]
    block = replace(shape, layers=1)
    forward = forward_flops(block, tokens, head=0)["total"]
    backward = training_flops(block, tokens, ends_trained=False, head=0) - forward
    return {
        "method_forward_tokens": passes.trained + passes.written + passes.read / shape.layers,
        "method_backward_tokens": passes.trained + passes.learnt / shape.layers,
        "method_flops": passes.trained * training_flops(shape, tokens, ends_trained=False)
        + passes.written * forward_flops(shape, tokens)["total"]
        + passes.read * forward
        + passes.learnt * backward,
    }
