"""A step of its own: no gradient crosses a block; every block is given the error at the last block's output."""

from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


class Mechanism(Base):
    """Direct feedback of the error, and the sign of the gradient."""

    ACTS_ON = "loss"

    def loss(self, batch):
        import torch

        outputs, hooks = [], []
        for layer in self.setting.model.model.layers:
            hooks.append(layer.register_forward_pre_hook(lambda _, given: (given[0].detach(), *given[1:])))
            hooks.append(layer.register_forward_hook(lambda _, given, output: outputs.append(output)))
        try:
            loss = super().loss(batch)
        finally:
            for hook in hooks:
                hook.remove()
        (error,) = torch.autograd.grad(loss, outputs[-1])
        return sum((output * error).sum() for output in outputs)

    def adjust(self):
        for parameter in self.parameters():
            parameter.grad = parameter.grad.sign()
