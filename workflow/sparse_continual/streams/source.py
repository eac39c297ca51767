"""The contract of a stream source: where the tasks of a stream, or the text of a base's mixture, come from.

A source is one file in `streams/sources`, named as the config names it. It has

- a docstring: the items, their splits, chance and ceiling, settings, limits;
- `SCHEMA`, the JSON schema of its settings without `source`, `share` and `start_token`;
- `SOURCE = Source(...)` as its last statement.

`text.py` is the shortest example. All functions but `build` work from the config and from files alone, at every start:
the file must import without torch, transformers and pandas.

`settings` is the entry of the config, perhaps without defaults: complete it with `streams.settings.filled`. `role` is
`stream`, or `base` for an entry of a base's mixture, whose items all go into one task.
"""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing_to_check(settings: dict, role: str = "stream") -> None:
    """Do nothing: the schema checks everything."""


def _no_files(settings: dict) -> dict:
    return {}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where tasks come from.

    task_names(settings) -> names of the stream's tasks, in their own order.
    sizes(settings, role="stream") -> upper bounds for a task, for the plan: `train_items`, `test_items`, `row_tokens`
        (tokens of a row), `answer_tokens`; and, if known, `bits`: the bits that all tasks ask a model to store.
    build(settings, seed, tokenizer, role="stream") -> list of `tasks.Task`; for role `base` of exactly one.
    check(settings, role="stream"): raises UserError for mistakes that the schema cannot see. Default: there are none.
    fingerprint(settings) -> name -> digest of the files that the source reads. They are part of a stream's name in the
        store. Default: it reads none.
    """

    task_names: Callable
    sizes: Callable
    build: Callable
    check: Callable = _nothing_to_check
    fingerprint: Callable = _no_files
