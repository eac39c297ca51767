"""Fine-tuning: each task is trained in turn on everything the condition may write, and nothing else is done.

The lower bound every mechanism is held against. Knobs: none of its own; rate, steps and batch size
are the study's. Cost: that of training alone.
"""

from sparse_continual.runs.mechanism import Mechanism

__all__ = ["SCHEMA", "Mechanism"]

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
