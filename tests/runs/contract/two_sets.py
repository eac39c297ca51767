"""Two sets of weights and a second phase: after `wake` steps a copy teaches the weights that the task began with."""

from dataclasses import replace

from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {"type": "object", "required": ["wake"], "properties": {"wake": {"type": "integer"}}}
SCHEMA |= {"additionalProperties": False}


class Mechanism(Base):
    """Wake: cross-entropy on fast weights. Sleep: the slow weights learn the logits of the fast ones."""

    ACTS_ON = "after"

    def __init__(self, setting, settings):
        super().__init__(setting, settings)
        self.slow, self.teacher = self.state(), {}

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        plain = super().price(settings, shape, nonzeros, sizes)
        return replace(plain, state_bytes=4 * plain.trained + 4 * shape.prunable)

    def before_task(self, task):
        self.slow, self.teacher = self.state(), {}

    def loss(self, batch):
        import torch

        if not self.teacher:
            return super().loss(batch)
        model = self.setting.model
        with torch.no_grad():
            taught = torch.func.functional_call(model, self.teacher, kwargs={"input_ids": batch["input_ids"]})
        return (model(input_ids=batch["input_ids"]).logits - taught.logits).square().mean()

    def after_step(self, done):
        return done == self.settings["wake"]

    def rewire(self, task, done):
        self.teacher = self.weights()
        self.load(self.slow)

    def memory(self):
        tensors = {f"slow.{name}": tensor for name, tensor in self.slow.items()}
        return {}, tensors | {f"teacher.{name}": tensor for name, tensor in self.teacher.items()}

    def remember(self, plain, tensors):
        sets = {"slow": {}, "teacher": {}}
        for whole, tensor in tensors.items():
            part, name = whole.split(".", 1)
            sets[part][name] = tensor
        self.slow, self.teacher = sets["slow"], sets["teacher"]
