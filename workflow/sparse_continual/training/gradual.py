"""The loop of methods that train while they choose: language modelling on the calibration rows.

Only the prunable matrices and a method's own scores are written; embeddings, head, norms and biases stay those of the
dense model. `recovery` trains under a fixed topology.
"""

import math
from contextlib import ExitStack, contextmanager
from functools import partial

from sparse_continual.errors import UserError
from sparse_continual.streams.calibration import SCHEMA as CALIBRATION

SETTINGS = {  # common to these methods
    "calibration": CALIBRATION,
    "steps": {"type": "integer", "minimum": 1, "default": 200, "description": "optimizer steps"},
    "batch_size": {"type": "integer", "minimum": 1, "default": 8, "description": "rows a step"},
    "learning_rate": {
        "type": "number",
        "minimum": 0,
        "default": 1e-4,
        "description": "highest learning rate of the weights; 0 does not change them",
    },
    "warmup": {"type": "integer", "minimum": 0, "default": 10, "description": "steps of linear warm-up"},
}


def passes(options: dict, text, steps=None):
    """Passes of a training of `steps` (pruning/cost.py); the blocks run twice, for the gradient."""
    tokens = (steps or options["steps"]) * options["batch_size"] * text.tokens
    return text.passes(trained=tokens, read=tokens * text.blocks)


def check_ends(method: str, schema: dict, settings: dict) -> None:
    """Raise UserError if a schedule's `end` lies before its `start`; both are shares of the steps."""
    start, end = (settings.get(key, schema["properties"][key]["default"]) for key in ("start", "end"))
    if end < start:
        raise UserError(f"method {method}: found end {end} before start {start}, expected at least as much")


def collate(rows):
    """(token ids int64 [rows, longest], True where they are real) of 1-D rows, padded at the end."""
    import torch

    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    real = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
        real[number, : len(row)] = True
    return tokens, real


def lm_loss(model, rows, reduction="mean"):
    """Nats a token of predicting each next token of `rows` (1-D tensors), mean or sum over tokens."""
    import torch

    tokens, real = (tensor.to(model.device) for tensor in collate(rows))
    logits = model(input_ids=tokens, attention_mask=real.long(), use_cache=False).logits[:, :-1]
    targets = tokens[:, 1:].masked_fill(~real[:, 1:], -100)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def train(job, optimizer, loss_of, steps, batch_size, warmup, seed, after=None, first=0) -> None:
    """Descend `loss_of(step, rows)` from step `first` to `steps`, and call `after(step)` after every step.

    The learning rate of each of the optimizer's groups follows `training.loop.rate`. The rows of a step depend only on
    `seed` and the step, so that a later start gets the same ones. The number of their tokens is added to the job's
    facts.

    Raises UserError when the loss is not finite.
    """
    import torch

    from sparse_continual.identity import seed_of
    from sparse_continual.training.loop import descend

    def loss(step):
        generator = torch.Generator().manual_seed(seed_of("method's batch", seed, step))
        chosen = torch.randint(len(job.rows), (batch_size,), generator=generator)
        rows = [job.rows[int(place)] for place in chosen]
        job.facts["tokens"] = job.facts.get("tokens", 0) + sum(len(row) for row in rows)
        with torch.enable_grad():
            value = loss_of(step, rows)
        if not math.isfinite(value.item()):
            raise UserError(
                f"training diverged: the loss at step {step + 1} of {steps} is {value.item()}; lower the learning rates"
            )
        return value

    def after_step(done, *_):
        if after:
            after(done - 1)

    descend(loss, optimizer, steps, warmup, first=first, after_step=after_step)


@contextmanager
def only_matrices(job):
    """Context in which only the job's matrices have gradients, which start empty. Afterwards `requires_grad` and the
    gradients of all parameters are restored. Weights that did not exist (`job.existing`) have a gradient of zero, so an
    optimizer without weight decay leaves them at zero.
    """
    from sparse_continual.models.load import matrix_of

    def mask(absent, weight):
        weight.grad.masked_fill_(absent, 0)

    before = {name: (p.requires_grad, p.grad) for name, p in job.model.named_parameters()}
    for name, parameter in job.model.named_parameters():
        parameter.requires_grad_(name in job.linears)
        parameter.grad = None
    hooks = []
    for name, existing in job.existing.items():
        module = job.linears[name]
        hook = partial(mask, matrix_of(module, ~existing))
        hooks.append(module.weight.register_post_accumulate_grad_hook(hook))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in job.model.named_parameters():
            needed, parameter.grad = before[name]
            parameter.requires_grad_(needed)


def loss_by_blocks(job, rows, stand_in=None, reduction="mean"):
    """`lm_loss` of the job's model with little memory: a decoder block keeps only its inputs for the backward pass and
    runs again there, so that one block's activations are in memory at a time (Chen et al. 2016, arXiv 1604.06174).

    stand_in(name): tensor that replaces one of the job's matrices; called whenever its block runs, with the same result
    each time.
    """
    from torch.utils.checkpoint import set_checkpoint_early_stop

    from sparse_continual.models.blockwise import block_of

    names = {}  # block -> names of its matrices
    for name in job.linears:
        names.setdefault(block_of(name), []).append(name)

    def read(block):
        return {name.removeprefix(f"{block}."): stand_in(name) for name in names[block]} if stand_in else {}

    # without an early stop: otherwise the recomputed part depends on the last operation
    with ExitStack() as blocks, set_checkpoint_early_stop(False):
        for name in names:
            blocks.enter_context(_run_again(job.model.get_submodule(name), partial(read, name)))
        return lm_loss(job.model, rows, reduction)


@contextmanager
def _run_again(block, read):
    """Context in which a decoder block runs again for its gradient; `read()`: name within the block -> tensor that
    replaces a parameter.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    forward = vars(block).get("forward")  # as accelerate's hooks set it
    whole = torch.nn.Module()  # holds the block as a part: calling the block itself would recurse
    whole.block, whole.forward = block, block.forward

    def run(*args, **kwargs):
        weights = {f"block.{name}": tensor for name, tensor in read().items()}
        return torch.func.functional_call(whole, weights, args, kwargs)

    block.forward = partial(checkpoint, run, use_reentrant=False)
    try:
        yield
    finally:
        del block.forward
        if forward:
            block.forward = forward


def sum_recomputed(value_of, names):
    """Sum of `value_of(name)`, a tensor each; nothing is kept for the backward pass, which recomputes each value."""
    from torch.utils.checkpoint import checkpoint

    return sum(checkpoint(value_of, name, use_reentrant=False) for name in names)


def uniform(shape, device, *identity):
    """Draws from [0, 1) that depend only on `identity` (identity.seed_of), so that they can be repeated."""
    import torch

    from sparse_continual.identity import seed_of

    generator = torch.Generator(device).manual_seed(seed_of(*identity))
    return torch.rand(shape, generator=generator, device=device)


def cubic(step: int, first: int, last: int) -> float:
    """0 until step `first`, 1 from `last` on, between them 1 - (1 - x)^3 (Zhu & Gupta 2017, eq. 1)."""
    if step < first:
        return 0.0
    if step >= last:
        return 1.0
    return 1 - (1 - (step - first) / (last - first)) ** 3
