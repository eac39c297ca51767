"""Elastic weight consolidation, online (Kirkpatrick et al., arXiv 1612.00796; Schwarz et al., arXiv 1805.06370).

After task t, F <- gamma F + F_t and a <- theta_t. From the second task on a step descends the loss plus

    (lambda / 2) sum_i gamma F_i (theta_i - a_i)^2

over all trained values theta. The penalty is added to the gradients, before they are clipped, and so goes through
AdamW's moments (it is coupled). F_t is the diagonal of the Fisher information at theta_t, in eval mode, with one
gradient per row (the log-probabilities of its answer tokens summed):

    F_t = mean over the task's training rows x of E_{y ~ p(.|x)} (d log p(y|x) / d theta)^2

Knobs: lambda (0 is fine-tuning, byte for byte); gamma; fisher: `sample` draws one answer per row from the model,
token by token; `exact` sums over all tokens, for answers of one token; `empirical` takes the row's own answer, which
vanishes as the row is learnt and does not estimate the Fisher. normalise: F is divided by the mean of F_1, so that
lambda means the same for all three and for models of all sizes.

Cost: 8 bytes per trained value; 5 FLOPs per trained value and step; after a task one forward and backward pass over its
rows, and for `sample` one more forward pass per answer token; for `exact` one pass per row and token of the vocabulary,
and one more forward pass per row.
Limits: the diagonal, only around the values after the last task; a large lambda ends learning before it ends
forgetting, because the norm of the whole gradient is clipped. On an unlocked model absent weights start with F near 0.
Draws come from the task's own generators. Relearning savings start without the penalty.
"""

from dataclasses import replace

from sparse_continual.errors import UserError
from sparse_continual.runs.mechanism import Mechanism as Base
from sparse_continual.training.arithmetic import forward_flops

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["lambda"],
    "properties": {
        "lambda": {"type": "number", "minimum": 0, "description": "strength of the penalty"},
        "gamma": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 1,
            "description": "decay of the importances of earlier tasks, per task",
        },
        "fisher": {
            "enum": ["sample", "exact", "empirical"],
            "default": "sample",
            "description": "answers of the gradients: drawn from the model, all tokens, the rows' own",
        },
        "normalise": {
            "type": "boolean",
            "default": True,
            "description": "divide importances by their mean after the first task",
        },
    },
}
ROWS = 32  # rows whose gradients are computed in one pass


class Mechanism(Base):
    """Fine-tuning with a quadratic penalty on the distance from the values after the last task."""

    ACTS_ON = "penalty"

    def __init__(self, setting, settings):
        super().__init__(setting, settings)
        self.fisher, self.anchor, self.mean = {}, {}, None

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        """Two float32 per trained value; the penalty in each step, the Fisher pass after each task."""
        plain = super().price(settings, shape, nonzeros, sizes)
        answers = round(sizes.head * sizes.row_tokens)  # tokens of a row's answer
        gradients = {"exact": shape.vocabulary}.get(settings["fisher"], 1)  # per row
        forwards = {"sample": answers, "exact": 1, "empirical": 0}[
            settings["fisher"]
        ]  # per row, for its answers

        def step_flops(weights):
            penalty = 5 * plain.trained / (sizes.batch_size * sizes.row_tokens)
            return plain.step_flops(weights) + penalty

        def task_flops(weights):
            answered = forward_flops(shape, sizes.row_tokens, weights, 1 / sizes.row_tokens)["total"]
            each = gradients * plain.step_flops(weights) + forwards * answered
            return sizes.task_rows * sizes.row_tokens * each

        return replace(plain, step_flops=step_flops, task_flops=task_flops, state_bytes=8 * plain.trained)

    def before_task(self, task):
        """Refuse `exact` before the first step if an answer has several tokens.

        Raises UserError.
        """
        split = task.split
        longest = int((split.starts[1:] - split.starts[:-1] - split.answers).max())
        if self.settings["fisher"] == "exact" and longest > 1:
            raise UserError(
                f"mechanism ewc: fisher: exact with answers of up to {longest} tokens, expected answers of one "
                "token; use fisher: sample"
            )

    def adjust(self):
        """Add the penalty's gradient, lambda gamma F (theta - a)."""
        strength = self.settings["lambda"] * self.settings["gamma"]
        if not (strength and self.fisher):
            return
        for name, tensor in self.named().items():
            penalty = strength * self.fisher[name] * (tensor.detach() - self.anchor[name])
            if tensor.grad is None:  # no row of the batch reached this tensor
                tensor.grad = penalty
            else:
                tensor.grad.add_(penalty)

    def end_task(self, task):
        """F <- gamma F + F_t, and the present values as the anchor."""
        from sparse_continual.runs.fisher import diagonal

        new = diagonal(self, task, self.settings["fisher"], ROWS)
        if self.mean is None:
            self.mean = float(
                sum(f.double().sum() for f in new.values()) / sum(f.numel() for f in new.values())
            )
        scale = self.mean if self.settings["normalise"] and self.mean > 0 else 1.0
        for name, fisher in new.items():
            fisher = fisher / scale
            self.fisher[name] = self.settings["gamma"] * self.fisher.get(name, 0) + fisher
        self.anchor = {name: tensor.detach().clone() for name, tensor in self.named().items()}

    def memory(self):
        """Importances, anchor, and the mean of the first importances."""
        tensors = {f"fisher.{name}": tensor for name, tensor in self.fisher.items()}
        tensors |= {f"anchor.{name}": tensor for name, tensor in self.anchor.items()}
        return {"mean": self.mean}, tensors

    def remember(self, plain, tensors):
        """Restore what `memory` returned."""
        parts = {"fisher": {}, "anchor": {}}
        for whole, tensor in tensors.items():
            part, name = whole.split(".", 1)
            parts[part][name] = tensor
        self.fisher, self.anchor, self.mean = parts["fisher"], parts["anchor"], plain["mean"]
