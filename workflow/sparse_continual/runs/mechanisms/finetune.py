"""Fine-tuning: each task is trained in turn on everything that the condition may write.

The lower bound for every mechanism. Knobs: none of its own; rate, steps and batch size are the study's. Cost: training
alone.
"""

from sparse_continual.runs.mechanism import Mechanism

__all__ = ["SCHEMA", "Mechanism"]

SCHEMA = {"type": "object", "additionalProperties": False, "properties": {}}
