"""Treat the experts of a mixture one by one, if transformers keeps their matrices together (`load.Stack`)."""

from contextlib import contextmanager

from torch import nn

from sparse_continual.models.load import Stack, prunable


class _Expert(nn.Linear):
    """A linear on an existing `weight`. A function that gets the linear as its weight, as in `linear(inputs, expert)`,
    calls it instead: so the model's own code runs, and hooks see each expert's inputs.
    """

    def __init__(self, weight):
        nn.Module.__init__(self)  # nn.Linear's own would draw random numbers
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias = nn.Parameter(weight.detach(), weight.requires_grad), None

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        inputs, expert = args
        return expert(inputs)


@contextmanager
def experts_apart(model):
    """Context in which every matrix of an expert is a linear of its own: "mlp.experts.gate_up_proj" becomes
    "mlp.experts.gate_up_proj.0.weight" and so on. Yields {name of the parameter: [names of its parts]}, {} for a model
    without such parameters.

    The parts are views: writing into them writes into the parameter. If gate and up are stored as one, they are one
    matrix. Inside the context experts are computed one after the other (transformers' "eager"); a copy of the model
    made inside keeps them apart.

    Raises UserError as `prunable`.
    """
    stacks = {name: stack for name, stack in prunable(model).items() if isinstance(stack, Stack)}
    stacked = {name: (stack, stack.weight) for name, stack in stacks.items()}
    if stacked:
        before = model.get_experts_implementation()
        model.set_experts_implementation("eager")
    for stack, whole in stacked.values():
        delattr(stack.module, stack.key)
        setattr(stack.module, stack.key, nn.ModuleList(map(_Expert, whole)))
    try:
        yield {
            name: [f"{name}.{n}.weight" for n in range(len(whole))] for name, (_, whole) in stacked.items()
        }
    finally:
        for stack, whole in stacked.values():
            delattr(stack.module, stack.key)
            setattr(stack.module, stack.key, whole)
        if stacked:
            model.set_experts_implementation(before)
