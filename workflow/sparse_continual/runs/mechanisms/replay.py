"""Experience replay from a fixed small buffer (Chaudhry et al., arXiv 1902.10486).

From the second task on, `share` of every batch are old rows drawn from a buffer of `buffer_items`
training rows. Old rows take the place of new ones, so steps, rows and FLOPs are those of fine-tuning
(substituted replay), and the new task is seen 1 - share as often: compare it with that in mind. The
buffer is a uniform sample of all training rows of past tasks, each offered once (reservoir sampling:
Vitter 1985).

Knobs: buffer_items, share. Cost: the buffer's bytes. Limit: rows must be kept, which privacy or
licences may forbid.
"""

import numpy as np

from sparse_continual.identity import seed_of
from sparse_continual.runs.mechanism import Mechanism as Base
from sparse_continual.training.batches import batch_rows

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
    """Fine-tuning on batches of which a share is old."""

    def __init__(self, setting, settings):
        super().__init__(setting, settings)
        self.buffer, self.offered = [], 0

    def rows(self, firsts, counts, task, batch_size, seed, step):
        """New rows as in fine-tuning, and round(share * batch_size) old ones drawn with replacement.

        At least one of each, where the batch has two rows.
        """
        old = min(max(1, round(self.settings["share"] * batch_size)), batch_size - 1) if self.buffer else 0
        new = firsts[task] + batch_rows(counts[task], batch_size - old, seed, step)
        if not old:
            return new
        rng = np.random.default_rng(seed_of("replayed rows", seed, step))
        return np.concatenate([new, np.array(self.buffer)[rng.integers(len(self.buffer), size=old)]])

    def end_task(self, firsts, counts, task):
        """Offer the task's rows to the reservoir, once each."""
        rng = np.random.default_rng(seed_of("reservoir", self.setting.seed, task))
        for row in range(firsts[task], firsts[task] + counts[task]):
            self.offered += 1
            if len(self.buffer) < self.settings["buffer_items"]:
                self.buffer.append(row)
                continue
            place = int(rng.integers(self.offered))
            if place < len(self.buffer):
                self.buffer[place] = row

    def memory(self):
        """The buffer's rows and how many were offered so far."""
        return {"buffer": self.buffer, "offered": self.offered}

    def remember(self, memory):
        """Take over the buffer."""
        self.buffer, self.offered = list(memory["buffer"]), memory["offered"]
