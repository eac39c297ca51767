"""The loop of every training: streams, mixtures (pretraining and recovery) and methods that train."""

import math
import time

import numpy as np
import torch

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.streams.tasks import concatenate
from sparse_continual.training.batches import collate, loss_of, mixture_rows, refuse_beyond

CLIP = 1.0  # norm of the gradient over all trainable values; equal in all arms


def adamw(parameters: list, learning_rate: float) -> torch.optim.AdamW:
    """AdamW without weight decay (Loshchilov & Hutter, arXiv 1711.05101), fused."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=True)


def step(loss, optimizer, places=None, adjust=None) -> torch.Tensor:
    """One step on `loss`: backward, clip, optimizer, and the matrices refreshed from their values.

    places: trainables (training/trainables.py) whose values stand apart from their matrices, or None; adjust: called
    without arguments when the gradients are complete, before they are clipped.

    Returns bool[], whether the gradient was clipped, on its device: reading it waits for the device.
    """
    loss.backward()
    if places:
        places.collect()
    if adjust:
        adjust()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if places:
        places.refresh()
    return norm > CLIP


def descend(
    loss_of, optimizer, steps: int, warmup: int, places=None, first=0, adjust=None, after_step=None
) -> int:
    """Take steps `first` to `steps` - 1 of a training: the loop of streams, mixtures and methods that train.

    loss_of(number): the loss of step `number` (from 0), a scalar with gradient; it chooses the rows. optimizer: the
    learning rates of its groups are the highest of the schedule (`rate`, with `warmup` steps). places, adjust: as in
    `step`. after_step(done, loss, clipped): called after each step with the number of steps done, the loss and the
    result of `step`; the loop ends if it returns True.

    Returns how many steps are done.
    """
    highest = [group["lr"] for group in optimizer.param_groups]
    for number in range(first, steps):
        for group, learning_rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = learning_rate * rate(number, steps, warmup)
        loss = loss_of(number)
        clipped = step(loss, optimizer, places, adjust)
        if after_step and after_step(number + 1, loss, clipped):
            return number + 1
    return steps


def rate(number: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate at step `number` from 0: linear warm-up, then a cosine to a tenth."""
    if number < warmup:
        return (number + 1) / warmup
    done = (number - warmup) / max(1, steps - warmup)
    return 0.55 + 0.45 * math.cos(math.pi * done)


def train_on_mixture(model, places, ends, mixture, settings: dict, seed: int, loss_of=loss_of) -> dict:
    """Train on a base's own mixture: pretraining, and recovery under a fixed topology.

    places, ends: the trainables (training/trainables.py); mixture: [(share, Split)]; settings: steps,
    batch_size, learning_rate, warmup; loss_of(model, batch): the loss, by default nats a token.

    Returns {steps, tokens (without padding), final_loss (mean of the last tenth)}.

    Raises UserError when the loss is not finite, and for a token without an embedding in the model.
    """
    shares, splits = zip(*mixture, strict=True)
    rows = concatenate(splits)
    refuse_beyond(model, rows, "the mixture's training rows")
    sizes = [split.rows for split in splits]
    firsts = [sum(sizes[:entry]) for entry in range(len(sizes))]
    optimizer = adamw(places.parameters() + ends.parameters(), settings["learning_rate"])
    model.train()
    # One tensor for all losses: a scalar kept from every step would fragment the memory that the step frees, and the
    # next step would allocate new memory.
    losses = torch.empty(settings["steps"], device=model.device)
    tokens, reported = 0, time.monotonic()

    def loss(number):
        nonlocal tokens
        drawn = mixture_rows(sizes, shares, settings["batch_size"], seed_of("mixture batches", seed), number)
        chosen = np.concatenate([firsts[entry] + some for entry, some in drawn])
        tokens += int((rows.starts[chosen + 1] - rows.starts[chosen]).sum())
        return loss_of(model, collate(rows, chosen, model.device))

    def record(done, loss, clipped):
        nonlocal reported
        losses[done - 1] = loss.detach()
        if time.monotonic() - reported > 30:
            print(f"step {done} of {settings['steps']}: loss {losses[done - 1].item():.4f}", flush=True)
            reported = time.monotonic()

    descend(loss, optimizer, settings["steps"], settings["warmup"], places, after_step=record)
    model.eval()
    _refuse_divergence(losses, settings)
    return {"steps": settings["steps"], "tokens": tokens, "final_loss": final(losses)}


def final(values: torch.Tensor) -> float:
    """Mean of the last tenth of a training's `values` [steps], at least of one value."""
    return values[-max(1, len(values) // 10) :].mean().item()


def _refuse_divergence(losses: torch.Tensor, settings: dict) -> None:
    """Check the losses once, at the end: a check at every step would wait for the device each time."""
    broken = (~losses.isfinite()).nonzero().flatten()
    if len(broken):
        first = int(broken[0])
        raise UserError(
            f"training on the mixture diverged: the loss at step {first + 1} of {settings['steps']} is "
            f"{losses[first].item()}; lower its learning_rate of {settings['learning_rate']:g}"
        )
