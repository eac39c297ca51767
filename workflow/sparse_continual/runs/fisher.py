"""The diagonal of the Fisher information of trained values: mean squares of gradients, one gradient per row.

If only linears inside the blocks are trained, one pass gives the gradients of all rows of a batch: the gradient of a
row is the product of the linear's input and of the gradient of its output, summed over the row's tokens. Otherwise rows
pass one at a time.
"""

import torch
import torch.nn.functional as F

from sparse_continual.models.load import matrix_of
from sparse_continual.training.batches import IGNORED, logits_and_targets

ELEMENTS = 2**24  # of the gradients, one per row, that are held at once


def diagonal(mechanism, task, kind: str, batch_size: int) -> dict:
    """{trained name: float32 tensor}: the mean over the task's training rows of the squared gradients of log p(y|x).

    mechanism, task: as in runs/mechanism.py; kind: which answers y: "sample", one drawn from the model for each row;
    "exact", all tokens weighted by their probability; "empirical", the row's own. batch_size: rows of a pass.
    """
    sums = {name: torch.zeros_like(tensor) for name, tensor in mechanism.named().items()}
    rng = task.draw("fisher")
    for first in range(task.rows.start, task.rows.stop, batch_size):
        batch = task.batch(range(first, min(first + batch_size, task.rows.stop)))
        for part, weights in _answered(mechanism.setting.model, batch, kind, rng, batch_size):
            for name, squares in squared(mechanism, part, weights).items():
                sums[name] += squares
    mechanism.places.refresh()  # drop gathered gradients
    return {name: total / len(task.rows) for name, total in sums.items()}


def squared(mechanism, batch: dict, weights) -> dict:
    """{trained name: sum over the rows of a batch of weight * (gradient of the row's log-probability)^2}.

    weights: float[rows].
    """
    places, linears = mechanism.places, mechanism.setting.linears
    if not mechanism.ends.trained and hasattr(places, "gathered"):
        squares = _squares_in_one_pass(mechanism.setting.model, linears, batch, weights)
        if squares:
            return dict(zip(mechanism.named(), places.gathered(squares), strict=True))
    return squared_by_row(mechanism, batch, weights)


def squared_by_row(mechanism, batch: dict, weights) -> dict:
    """As `squared`, with one backward pass per row: for all trained tensors."""
    places = mechanism.places
    sums = {name: torch.zeros_like(tensor) for name, tensor in mechanism.named().items()}
    for row in range(len(weights)):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        _log_probabilities(mechanism.setting.model, one).sum().backward()
        places.collect()
        for name, tensor in mechanism.named().items():
            if tensor.grad is not None:
                sums[name] += weights[row] * tensor.grad.square()
                tensor.grad = None
        places.refresh()
    return sums


def _squares_in_one_pass(model, linears: dict, batch: dict, weights) -> dict | None:
    """{weight name: squares of the weight's shape}; None if a linear does not process every row by itself."""
    if not all(isinstance(module, torch.nn.Module) for module in linears.values()):
        return None  # a stack of experts' matrices
    rows, passed = len(weights), {name: [] for name in linears}

    def watch(name):
        return lambda module, inputs, output: passed[name].append((inputs[0].detach(), output))

    hooks = [module.register_forward_hook(watch(name)) for name, module in linears.items()]
    try:
        total = _log_probabilities(model, batch).sum()
    finally:
        for hook in hooks:
            hook.remove()
    calls = [call for of_linear in passed.values() for call in of_linear]
    if any(read.ndim != 3 or len(read) != rows for read, _ in calls):
        return None
    gradients = iter(torch.autograd.grad(total, [output for _, output in calls]))
    squares = {}
    for name, module in linears.items():
        pairs = [(next(gradients), read) for read, _ in passed[name]]
        squares[name] = torch.zeros_like(module.weight)
        for some in torch.arange(rows).split(max(1, ELEMENTS // module.weight.numel())):
            products = sum(torch.einsum("bto,bti->boi", wrote[some], read[some]) for wrote, read in pairs)
            if pairs:
                summed = torch.einsum("b,boi->oi", weights[some], products.square())
                squares[name] += matrix_of(module, summed)
    return squares


def _log_probabilities(model, batch: dict):
    """float[rows]: the log-probability of each row's answer, its tokens summed."""
    logits, targets = logits_and_targets(model, batch)
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return -each.view_as(targets).sum(1)


def _answered(model, batch: dict, kind: str, rng, batch_size: int):
    """(batch, weights) in which the rows' own answers are replaced by those of `kind`."""
    rows = len(batch["labels"])
    if kind == "exact":
        for row in range(rows):
            yield from _all_tokens(
                model, {key: value[row : row + 1] for key, value in batch.items()}, batch_size
            )
        return
    if kind == "sample":
        batch = _drawn(model, batch, rng)
    yield batch, torch.ones(rows, device=batch["labels"].device)


@torch.no_grad()
def _drawn(model, batch: dict, rng) -> dict:
    """A batch whose answers are drawn from the model, token after token, each given the tokens before it."""
    ids, labels = batch["input_ids"].clone(), batch["labels"].clone()
    counted = labels != IGNORED
    first, lengths = counted.int().argmax(1), counted.sum(1)
    rows = torch.arange(len(ids), device=ids.device)
    uniforms = torch.zeros(len(ids), int(lengths.max()), dtype=torch.float64)
    for row, length in enumerate(
        lengths.tolist()
    ):  # row by row, so that draws do not depend on the batch size
        uniforms[row, :length] = torch.from_numpy(rng.random(length))
    uniforms = uniforms.to(ids.device)
    for number in range(uniforms.shape[1]):
        at = first + number
        inside = number < lengths
        at = torch.where(inside, at, first)
        prompt = {"input_ids": ids, "labels": torch.full_like(labels, IGNORED)}
        prompt["labels"][rows, at] = 0
        logits, targets = logits_and_targets(model, prompt)
        cumulative = (
            logits[targets != IGNORED].double().softmax(-1).cumsum(-1)
        )  # [rows, vocabulary], in order
        token = (cumulative < uniforms[:, number, None] * cumulative[:, -1:]).sum(1)
        ids[rows[inside], at[inside]] = token[inside]
        labels[rows[inside], at[inside]] = token[inside]
    return {"input_ids": ids, "labels": labels}


def _all_tokens(model, row: dict, batch_size: int):
    """(batch, probabilities): copies of one row, with each token of the vocabulary as its one-token answer."""
    with torch.no_grad():
        logits, targets = logits_and_targets(model, row)
    likely = logits[0, 0].softmax(-1)
    (at,) = (row["labels"][0] != IGNORED).nonzero()[0].tolist()
    for tokens in torch.arange(len(likely), device=likely.device).split(batch_size):
        part = {key: value.repeat(len(tokens), 1) for key, value in row.items()}
        part["input_ids"][:, at] = tokens
        part["labels"][:, at] = tokens
        yield part, likely[tokens]
