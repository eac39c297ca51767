"""Scores and losses of a model on a task's items, for tuning and for scoring.

These measures choose learning rates and stop training at a loss. So an edit of this file re-runs tuning and training of
every condition; an edit in `scores/` never does.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from sparse_continual.streams.tasks import Split, Task
from sparse_continual.training.batches import IGNORED, collate, logits_and_targets, refuse_beyond


@dataclass
class Measured:
    """score: float64[items] in [0, 1], as Task.kind defines it.

    loss: float64[items], mean negative log-likelihood in nats per answer token: of the right option
    ("options"), of the row otherwise.
    """

    score: np.ndarray
    loss: np.ndarray


def measure(model, task: Task, name: str, batch_size: int) -> Measured:
    """Judge every item of the task's split called `name`. batch_size: rows per forward pass.

    Rows are sorted by length, so that there is little padding. The options of an item share its prompt,
    which is read once. The model's mode is restored.

    Raises UserError for a token without an embedding in the model.
    """
    split = getattr(task, name)
    refuse_beyond(model, split, f"task {task.name}")
    training = model.training
    model.eval()
    try:
        if task.kind == "options":
            return judge_options(split, option_losses(model, split, batch_size))
        loss, right = _rows(model, split, batch_size)
    finally:
        model.train(training)
    score = (right == 1).astype(np.float64) if task.kind == "exact" else right
    return Measured(score, loss)


@torch.inference_mode()
def _rows(model, split: Split, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean loss float64[rows], share of right tokens float64[rows]) over each row's answer tokens."""
    device = next(model.parameters()).device
    by_length = np.argsort(np.diff(split.starts), kind="stable")
    loss, right = np.empty(split.rows), np.empty(split.rows)
    for first in range(0, split.rows, batch_size):
        rows = by_length[first : first + batch_size]
        logits, targets = logits_and_targets(model, collate(split, rows, device))
        counted = targets != IGNORED
        share = counted / counted.sum(1, keepdim=True).double()
        each = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        loss[rows] = (each.view_as(targets).double() * share).sum(1).cpu().numpy()
        right[rows] = torch.where(logits.argmax(-1) == targets, share, 0).sum(1).cpu().numpy()
    return loss, np.round(right, 12)


@torch.inference_mode()
def option_losses(model, split: Split, batch_size: int) -> np.ndarray:
    """Mean loss float64[rows] over each row's answer tokens; every item's prompt is read once.

    Items with prompts of one length are processed together, so that the cached prompt needs no padding and no
    mask; the cache is then repeated for each option and reads the answers, padded on the right.
    """
    device = next(model.parameters()).device
    first = np.searchsorted(split.items, np.arange(len(split)))
    options = split.rows // len(split)
    lengths = split.answers[first]
    loss = np.empty(split.rows)
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length)
        for some in np.array_split(alike, -(-len(alike) * options // max(batch_size, options))):
            rows = (first[some, None] + np.arange(options)).ravel()
            batch = collate(split, rows, device)
            prompts = batch["input_ids"][::options, :length]
            answers, targets = batch["input_ids"][:, length:], batch["labels"][:, length:]
            read = model(input_ids=prompts, use_cache=True, logits_to_keep=1)
            logits = read.logits.repeat_interleave(options, 0)
            if answers.shape[1] > 1:
                cache = read.past_key_values
                cache.batch_repeat_interleave(options)
                more = model(input_ids=answers[:, :-1], past_key_values=cache, use_cache=True).logits
                logits = torch.cat([logits, more], 1)
            each = F.cross_entropy(
                logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
            ).view_as(targets)
            loss[rows] = (each.double().sum(1) / (targets != IGNORED).sum(1)).cpu().numpy()
    return loss


def judge_options(split: Split, loss: np.ndarray) -> Measured:
    """Scores of options from the mean loss of every row, float64[rows].

    An item is right if its right option has the smallest loss. If k options share the smallest loss and the right one
    is among them, the score is 1 / k, the mean of drawing one of them. So a model without any preference scores the
    chance level, in any order of the options.
    """
    first = np.searchsorted(split.items, np.arange(len(split)))
    right = first + split.correct
    best = loss == np.minimum.reduceat(loss, first)[split.items]
    ties = np.add.reduceat(best, first, dtype=np.int64)
    return Measured(best[right] / np.maximum(ties, 1), loss[right])  # if a loss is NaN, no row is the best
