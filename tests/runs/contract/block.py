"""An appended block: before the second task the last block is copied, at first without effect, and trained alone."""

import copy
from dataclasses import replace

from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}


class Mechanism(Base):
    """Fine-tuning of the whole model, then of appended blocks. Of locked topologies: a copy keeps its mask."""

    ACTS_ON, WRITES, WHOLE = "places", ("all",), True

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        plain = super().price(settings, shape, nonzeros, sizes)
        own = sizes.written // shape.layers
        return replace(plain, trained=own, state_bytes=4 * (sizes.written + own * (sizes.tasks - 2)))

    def before_task(self, task):
        self.take_form({"added": task.number}, {})

    def form(self):
        return {"added": self.added}, {}

    def attach(self):
        from sparse_continual.training.trainables import FixedPlaces

        self.added = getattr(self, "added", 0)
        self.base = len(self.setting.model.model.layers) - self.added
        places = {name: mask for name, mask in self.setting.writable.items() if mask.any()}
        return FixedPlaces({name: self.setting.linears[name] for name in places}, places)

    def take_form(self, plain, tensors):
        from sparse_continual.models.load import prunable

        setting, layers = self.setting, self.setting.model.model.layers
        self.places.release()
        while len(layers) > self.base + plain["added"]:
            del layers[len(layers) - 1]
        while len(layers) < self.base + plain["added"]:
            new, number = copy.deepcopy(layers[-1]), len(layers)
            new.self_attn.layer_idx = number
            for last in (new.self_attn.o_proj, new.mlp.down_proj):
                last.weight.data.zero_()
            layers.append(new)
            source, target = (f"model.layers.{place}." for place in (number - 1, number))
            masks = {n.replace(source, target): mask for n, mask in setting.exists.items() if source in n}
            setting.exists = {**setting.exists, **masks}
        self.added = setting.model.config.num_hidden_layers = len(layers)
        self.added -= self.base
        setting.linears = prunable(setting.model)
        setting.exists = {name: setting.exists[name] for name in setting.linears}
        last = f"model.layers.{len(layers) - 1}." if self.added else ""
        self.choose({name: mask & name.startswith(last) for name, mask in setting.exists.items()})
