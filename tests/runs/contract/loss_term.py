"""A loss term: the squared logits of the answers are added to the loss."""

from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {"type": "object", "required": ["weight"], "properties": {"weight": {"type": "number"}}}
SCHEMA |= {"additionalProperties": False}


class Mechanism(Base):
    """Fine-tuning with small logits."""

    ACTS_ON = "loss"

    def loss(self, batch):
        from sparse_continual.training.batches import logits_and_targets

        logits, _ = logits_and_targets(self.setting.model, batch)
        return super().loss(batch) + self.settings["weight"] * logits.square().mean()

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        from dataclasses import replace

        from sparse_continual.training.arithmetic import forward_flops

        plain = super().price(settings, shape, nonzeros, sizes)
        again = lambda weights: forward_flops(shape, sizes.row_tokens, weights, sizes.head)["total"]  # noqa: E731
        return replace(plain, step_flops=lambda weights: plain.step_flops(weights) + again(weights))
