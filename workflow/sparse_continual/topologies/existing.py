"""Weights that a model lacks before it is pruned: they stay absent under every method.

A weight that is exactly zero (-0.0 too) does not exist. One rule serves all methods: `counts.Count.existing` lists the
weights that a kernel may choose, `select.keep` chooses no others, training gets no gradient there
(`training.only_matrices`), and `prune` checks the result. A matrix without zeros has no mask, so this file does not
affect a dense model.
"""

import math

from sparse_continual.errors import UserError
from sparse_continual.models.load import matrix_of
from sparse_continual.topologies.counts import fit, parse_pattern
from sparse_continual.topologies.density import ZEROS

CHANCE = 1e-3  # share of exact zeros that rounding to half precision or float8 may leave in a dense model


def existing_of(linears: dict) -> dict:
    """Weight name -> bool[outputs, inputs] of the weights that exist, of the matrices that lack some."""
    existing = {}
    for name, module in linears.items():
        mask = (
            matrix_of(module).detach() != 0
        ).contiguous()  # transposed ones too: rows are looked at in groups
        if not mask.all():
            existing[name] = mask
    return existing


def room_of(sizes: dict, existing: dict, groups=None) -> dict[str, int]:
    """Weight name -> how many weights of each matrix of `sizes` (name -> (rows, columns)) can be kept.

    groups: (N, M) of the pattern N:M, which keeps at most N of each group of M; or None.
    """
    kept, of = groups or (1, 1)
    room = {name: rows * columns // of * kept for name, (rows, columns) in sizes.items()}
    for name, mask in existing.items():
        room[name] = int(mask.view(-1, of).sum(1).clamp(max=kept).sum())
    return room


def refuse(sizes: dict, existing: dict, settings: dict, sparsity, total) -> None:
    """Raise UserError, with the share of absent weights, if the settings do not allow to prune this model.

    That is: `on_sparse: refuse` with more zeros than CHANCE; method `dense` with more than ZEROS; a `sparsity` below
    the model's. settings: {method, pattern, on_sparse}; total: kept weights, None for a structured pattern.
    """
    weights = sum(rows * columns for rows, columns in sizes.values())
    left = sum(room_of(sizes, existing).values())
    absent = weights - left
    zeros = f"{absent} of its {weights} prunable weights ({absent / weights:.3g}) are exactly zero"
    if settings.get("on_sparse") == "refuse" and absent > CHANCE * weights:
        raise UserError(
            f"on_sparse refuse: the model is pruned already: {zeros}, expected at most {CHANCE:g} of them; use the "
            "dense model, or choose on_sparse keep, which keeps these weights absent"
        )
    if settings["pattern"] == "dense":
        if absent > ZEROS * weights:
            raise UserError(
                f"method {settings['method']}: the model is pruned already: {zeros}, expected at most {ZEROS:g} of "
                "them; to take its zeros as the topology, use method counted"
            )
    elif total is not None and not parse_pattern(settings["pattern"]) and total > left:
        raise UserError(
            f"sparsity {sparsity}: the model is pruned already: {zeros}, and sparsity is the final share of absent "
            f"weights; choose a sparsity of at least {at_least(absent, weights)}"
        )


def limited(kept: dict[str, int], room: dict[str, int]) -> dict[str, int]:
    """`kept` (name -> weights) of an allocation, limited to `room`; other matrices take the rest (`counts.fit`)."""
    return dict(zip(kept, fit(list(kept.values()), [room[name] for name in kept]), strict=True))


def at_least(absent: int, of: int) -> str:
    """The share `absent` / `of` in decimals, rounded up, for a message."""
    return f"{math.ceil(1e6 * absent / of) / 1e6:g}"
