"""Parameters that grow by task: one output scale per row of every matrix and task; those of earlier tasks freeze."""

from math import prod

from sparse_continual.runs.mechanism import Mechanism as Base
from sparse_continual.runs.mechanism import Price
from sparse_continual.topologies.counts import matrices

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


class Mechanism(Base):
    """weight = W * product over tasks of (1 + s_t), by rows."""

    ACTS_ON, WRITES, MOMENTS = "places", ("all",), "carried"

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        rows = sum(outputs for outputs, _ in matrices(shape.settings()).values())
        step_flops = super().price(settings, shape, nonzeros, sizes).step_flops
        return Price(rows, step_flops, state_bytes=4 * rows * (sizes.tasks - 1))

    def attach(self):
        from sparse_continual.training.trainables import Tensors, torch

        self.count, self.scales = 0, {}
        for name, module in self.setting.linears.items():
            scaled = type("Scaled", (torch.nn.Module,), {"forward": lambda _, w, n=name: w * self.scale(n)})()
            torch.nn.utils.parametrize.register_parametrization(module, "weight", scaled)
        return Tensors({})

    def scale(self, name):
        return prod(1 + self.scales[f"{name}.{number}"] for number in range(self.count))

    def before_task(self, task):
        self.take_form({"count": self.count + 1}, {})

    def form(self):
        return {"count": self.count}, {}

    def take_form(self, plain, tensors):
        from torch import nn, zeros

        self.places.release()
        old, sizes = self.scales, {name: len(module.weight) for name, module in self.setting.linears.items()}
        names = {f"{name}.{number}": name for name in sizes for number in range(plain["count"])}
        new = {whole: old.get(whole, nn.Parameter(zeros(sizes[name], 1))) for whole, name in names.items()}
        self.count, self.scales = plain["count"], {n: s.requires_grad_(False) for n, s in new.items()}
        self.places = type(self.places)({n: s for n, s in new.items() if n.endswith(f".{self.count - 1}")})

    def state(self):
        return {name: scale.detach().clone() for name, scale in self.scales.items()}

    def load(self, state):
        for name, scale in self.scales.items():
            scale.data.copy_(state[name])

    def untouched(self):
        yield from ((n, m.parametrizations.weight.original) for n, m in self.setting.linears.items())
        yield from ((n, scale) for n, scale in self.scales.items() if n not in self.places.named)
