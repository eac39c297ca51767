"""The contract of a model source: the origin of a base, the model before any topology.

A source is one file in `bases/sources`, named as the config names it. It has

- a docstring: the model, settings, cost, limits;
- `SCHEMA`, the JSON schema of its settings without `source`, `mixture` and `recovery`;
- `SOURCE = Source(...)` as its last statement.

`local.py` is the shortest example. All functions but `obtain` work from the config and from small files alone, at every
start: the file must import without torch, transformers and pandas.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Source:
    """The origin of a base.

    check(settings): raises UserError for mistakes that the schema cannot see. It uses no network.
    fingerprint(settings) -> digests or commits that identify the model's files, as a part of the model's name in the
        store.
    shape(settings, lengths=()) -> shape of the model (`arithmetic.Shape`) with FLOPs of rows of these lengths; {} if
        it is not known before a download. `models.shape.shape_of` counts the shape of a config.json.
    obtain(settings, seed, folder, mixture) -> facts for the manifest, among them `folder` if the model is not in
        `folder`. `mixture` is [(share, training Split)], [] if the base declares none.

    downloads(settings) -> one dict per repository that `obtain` fetches, as `bases.download.planned` describes them.
        None: nothing is downloaded. A source with downloads runs as a local rule, and the plan lists them.
    declared(settings) -> declarations of a published checkpoint: licence, pattern, sparsity, ... None: there are none.
        The plan and the report show them next to the counts.
    generated: whether the model is made here. Then every block trains a model of its own from a seed, in the
        vocabulary of the generated sources, on the base's `mixture` (which the config must have). Its settings have
        `shape` and `pretraining`; without `pretraining`, `obtain` saves the initial model. So it can have a topology at
        init and controls of another shape. False: all blocks share one checkpoint, whose weights may be zero.
    """

    check: Callable
    fingerprint: Callable
    shape: Callable
    obtain: Callable
    downloads: Callable | None = None
    declared: Callable | None = None
    generated: bool = False
