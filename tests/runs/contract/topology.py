"""A changing topology whose versions are kept: twice a task the smallest weights give way to absent ones."""

from dataclasses import replace

from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {"type": "object", "required": ["share"], "properties": {"share": {"type": "number"}}}
SCHEMA |= {"additionalProperties": False}


class Mechanism(Base):
    """As many weights as before exist at every step."""

    ACTS_ON = "places"
    WRITES = ("all",)

    def __init__(self, setting, settings):
        super().__init__(setting, settings)
        self.versions = [setting.exists]

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        plain = super().price(settings, shape, nonzeros, sizes)
        return replace(plain, state_bytes=2 * sizes.tasks * shape.prunable // 8)

    def before_task(self, task):
        if task.number:
            self.rewire(task, 0)

    def after_step(self, done):
        return done == 3

    def rewire(self, task, done):
        import torch

        rng, version = task.draw(f"grown after {done}"), {}
        for name, exists in self.versions[-1].items():
            weight, flat = self.setting.linears[name].weight.detach(), exists.flatten().clone()
            count = int(self.settings["share"] * flat.sum())
            absent = (~flat).nonzero().flatten()
            sizes = torch.where(flat, weight.abs().flatten(), torch.inf)
            flat[sizes.topk(count, largest=False).indices] = False
            flat[absent[torch.from_numpy(rng.permutation(len(absent))[:count])]] = True
            version[name] = flat.view(exists.shape)
        self.adopt([*self.versions, version])

    def adopt(self, versions):
        self.versions = versions
        for name, exists in versions[-1].items():
            self.setting.linears[name].weight.data[~exists] = 0
        self.setting.exists = versions[-1]
        self.choose(versions[-1])

    def form(self):
        named = {f"{i}.{name}": m for i, version in enumerate(self.versions) for name, m in version.items()}
        return {"versions": len(self.versions)}, named

    def take_form(self, plain, tensors):
        names = self.setting.linears
        self.adopt([{name: tensors[f"{i}.{name}"] for name in names} for i in range(plain["versions"])])
