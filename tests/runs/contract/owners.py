"""Owner masks with a task id at scoring: each task takes a third of the weights; task k is answered by owners <= k."""

from contextlib import contextmanager
from dataclasses import replace

from sparse_continual.runs.mechanism import Mechanism as Base
from sparse_continual.topologies.counts import matrices

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
FREE = 127


class Mechanism(Base):
    """What a task has written is never written again, and weights of no task are 0."""

    ACTS_ON, WHOLE, TASK_ID, FORGETS = "places", True, "oracle", False

    def __init__(self, setting, settings):
        self.owners = {name: places.char() * 0 + FREE for name, places in setting.writable.items()}
        super().__init__(setting, settings)

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        counts = [
            int(sizes.written / shape.prunable * a * b) // 3 for a, b in matrices(shape.settings()).values()
        ]
        plain = super().price(settings, shape, nonzeros, sizes)
        return replace(plain, trained=sum(counts), state_bytes=shape.prunable)

    def before_task(self, task):
        import torch

        rng = task.draw("owners")
        exists = self.setting.exists
        for name, owner in self.owners.items():
            free = ((owner == FREE) & exists[name]).flatten().nonzero().flatten()
            some = torch.from_numpy(rng.permutation(len(free))[: int(exists[name].sum()) // 3])
            owner.view(-1)[free[some]] = task.number
            if task.number == 0:
                self.setting.linears[name].weight.data[owner == FREE] = 0
        self.choose({name: owner == task.number for name, owner in self.owners.items()})

    def form(self):
        return {}, self.owners

    def take_form(self, plain, tensors):
        self.owners = {name: owner.clone() for name, owner in tensors.items()}
        last = max(int(owner[owner < FREE].max()) for owner in tensors.values())
        self.choose({name: owner == last for name, owner in self.owners.items()})

    @contextmanager
    def view(self, task):
        whole = {name: module.weight.detach().clone() for name, module in self.setting.linears.items()}
        for name, owner in self.owners.items():
            if task is not None:
                self.setting.linears[name].weight.data[(owner > task) & (owner < FREE)] = 0
        yield self.setting.model
        for name, weight in whole.items():
            self.setting.linears[name].weight.data.copy_(weight)
