"""The contract of an importer: how another framework's log becomes a score matrix.

An importer is one file in `reanalysis/importers`, named as a reanalysis names it. It has

- a docstring: which files of which release it reads, what they hold, and what it refuses;
- `IMPORTER = Importer(read, expected=...)` as its last statement.

`o_lora.py` is the shortest example.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Importer:
    """How a log is read.

    read(path) -> `foreign.Foreign`, from a file or folder. For unknown content it raises UserError naming the file, and
        it never unpickles or evaluates it.
    expected: the clause `expected ...` that completes an error without such a clause.
    """

    read: Callable
    expected: str
