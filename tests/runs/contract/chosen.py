"""New places before each task: half of the writable weights, drawn."""

from dataclasses import replace

from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


class Mechanism(Base):
    """Fine-tuning of places that change from task to task."""

    ACTS_ON = "places"
    WHOLE = True

    def __init__(self, setting, settings):
        self.pool = setting.writable
        super().__init__(setting, settings)

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        from sparse_continual.topologies.counts import matrices

        plain = super().price(settings, shape, nonzeros, sizes)
        share = sizes.written / shape.prunable
        halves = sum(
            int(share * rows * columns) // 2 for rows, columns in matrices(shape.settings()).values()
        )
        return replace(plain, trained=halves, state_bytes=shape.prunable // 8)

    def before_task(self, task):
        import torch

        rng, chosen = task.draw("places"), {}
        for name, places in self.pool.items():
            inside = places.flatten().nonzero().flatten()
            some = inside[torch.from_numpy(rng.permutation(len(inside))[: len(inside) // 2])]
            chosen[name] = torch.zeros(places.numel(), dtype=torch.bool)
            chosen[name][some] = True
            chosen[name] = chosen[name].view(places.shape)
        self.choose(chosen)

    def form(self):
        return {}, self.setting.writable

    def take_form(self, plain, tensors):
        self.choose(tensors)
