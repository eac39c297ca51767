"""Random linear layers with correlated inputs of uneven scale, and what is known about them in closed form."""

import importlib
from types import SimpleNamespace

import torch

from sparse_continual import registry
from sparse_continual.models.load import prunable
from sparse_continual.topologies.counts import Count

ROWS, COLUMNS, TOKENS, SEQUENCES = 32, 64, 40, 8


def method(name):
    """The contract of the method `name`."""
    return registry.load("pruning.methods", name)


def functions(name):
    """The file of the method `name`, for its functions."""
    return importlib.import_module(f"sparse_continual.pruning.methods.{name}")


def one_shot(name):
    """Whether a method prunes a trained model by any pattern, without training it."""
    found = registry.load("pruning.methods", name)
    return (
        found.patterns == ("unstructured", "N:M")
        and "steps" not in registry.schema("pruning.methods", name)["properties"]
    )


def job_of(model, rows):
    """What a method that looks at the whole model needs of a `pruning.Job`."""
    return SimpleNamespace(model=model, linears=prunable(model), rows=list(rows), existing={})


def layer(seed, rows=ROWS, columns=COLUMNS, dtype=torch.float64):
    """(weight, sequences of correlated inputs of uneven scale)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    scales = torch.exp(0.7 * normal(columns))
    mixing = torch.eye(columns, dtype=torch.float64) + 0.6 * normal(columns, columns) / columns**0.5
    inputs = [((normal(TOKENS, columns) @ mixing) * scales).to(dtype) for _ in range(SEQUENCES)]
    return normal(rows, columns).to(dtype), inputs


def measured(statistics, inputs):
    """An object of the class `statistics` that has read `inputs`."""
    made = statistics(inputs[0].shape[1], "cpu")
    for sequence in inputs:
        made.add(sequence[None])
    return made


def hessian(inputs, damping=0.0):
    stacked = torch.cat(inputs).double()
    plain = 2 / len(inputs) * stacked.T @ stacked
    return plain + damping * plain.diagonal().mean() * torch.eye(len(plain), dtype=torch.float64)


def error(new, old, matrix):
    """[rows]: 1/2 (v - w) H (v - w)^T."""
    change = new.double() - old.double()
    return (change @ matrix * change).sum(1) / 2


def pruned(chosen, weight, inputs, kept=None, groups=None, reference=None, **options):
    """(mask, weight with zeros) by a method's kernel."""
    statistics = measured(chosen.statistics, inputs) if chosen.needs_calibration else None
    mask, new = chosen.prune_matrix(weight, statistics, Count(kept, groups, reference), **options)
    return mask, new.masked_fill(~mask, 0)


def read_by(model, names, rows):
    """Name -> inputs [tokens, columns] per row of the matrices `names` in passes of the whole model."""
    found = {name: [] for name in names}
    handles = [
        model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(
            lambda module, args, name=name: found[name].append(args[0][0])
        )
        for name in names
    ]
    with torch.no_grad():
        for row in rows:
            model(row[None])
    for handle in handles:
        handle.remove()
    return found


def least_squares(weight, mask, matrix):
    """The best weights on a mask, row by row."""
    best = torch.zeros_like(weight)
    for row in range(len(weight)):
        kept, gone = mask[row].nonzero().flatten(), (~mask[row]).nonzero().flatten()
        pull = matrix[kept][:, gone] @ weight[row, gone]
        best[row, kept] = weight[row, kept] + torch.linalg.solve(matrix[kept][:, kept], pull)
    return best
