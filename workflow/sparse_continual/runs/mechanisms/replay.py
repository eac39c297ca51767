"""Experience replay from a fixed small buffer (Chaudhry et al., arXiv 1902.10486).

From the second task on, `share` of every batch are old rows drawn from a buffer of `buffer_items`
training rows. Old rows take the place of new ones, so steps, rows and FLOPs are those of fine-tuning
(substituted replay). The new task's rows are then seen 1 - share times as often as in fine-tuning: consider this in a
comparison. The buffer is a uniform sample of all training rows of past tasks, each offered once (reservoir sampling:
Vitter 1985).

Knobs: buffer_items, share. Cost: the buffer's bytes. Limit: rows are kept, which privacy or licences may forbid.
"""

from dataclasses import replace

from sparse_continual.identity import seed_of
from sparse_continual.runs.mechanism import Mechanism as Base

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["buffer_items", "share"],
    "properties": {
        "buffer_items": {
            "type": "integer",
            "minimum": 1,
            "description": "training rows that the buffer holds",
        },
        "share": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "description": "share of each batch that is drawn from the buffer; it replaces new rows",
        },
    },
}


class Mechanism(Base):
    """Fine-tuning on batches with a share of old rows."""

    ACTS_ON = "rows"

    def __init__(self, setting, settings):
        super().__init__(setting, settings)
        self.buffer, self.offered = [], 0

    @classmethod
    def price(cls, settings, shape, nonzeros, sizes):
        """The price of fine-tuning, whose rows the old ones replace, plus the rows of the buffer."""
        return replace(super().price(settings, shape, nonzeros, sizes), buffer_rows=settings["buffer_items"])

    def rows(self, task, batch_size, step):
        """New rows as in fine-tuning, and round(share * batch_size) old ones drawn with replacement.

        At least one of each, if the batch has two rows.
        """
        old = min(max(1, round(self.settings["share"] * batch_size)), batch_size - 1) if self.buffer else 0
        new = super().rows(task, batch_size - old, step)
        if not old:
            return new
        import numpy as np

        rng = np.random.default_rng(seed_of("replayed rows", task.order, step))
        return np.concatenate([new, np.array(self.buffer)[rng.integers(len(self.buffer), size=old)]])

    def end_task(self, task):
        """Offer the task's rows to the reservoir, once each."""
        rng = task.draw("reservoir")
        for row in task.rows:
            self.offered += 1
            if len(self.buffer) < self.settings["buffer_items"]:
                self.buffer.append(row)
                continue
            place = int(rng.integers(self.offered))
            if place < len(self.buffer):
                self.buffer[place] = row

    def memory(self):
        """The buffer's rows and how many were offered so far."""
        return {"buffer": self.buffer, "offered": self.offered}, {}

    def remember(self, plain, tensors):
        """Restore the buffer."""
        self.buffer, self.offered = list(plain["buffer"]), plain["offered"]
