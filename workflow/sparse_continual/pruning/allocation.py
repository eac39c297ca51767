"""The contract of an allocation: how many weights each matrix keeps, of a total.

An allocation is one file in `pruning/allocations`, named as the config names it. It has

- a docstring: source, formula, settings, cost, limits;
- `SCHEMA`, the JSON schema of its own settings;
- `ALLOCATION = Allocation(kept, needs=...)` as its last statement.

`uniform.py` is the shortest example. The file must import without torch: import it inside functions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sparse_continual.errors import UserError

NEEDS = ("shapes", "inputs", "scores")


@dataclass(frozen=True)
class Allocation:
    """How the kept weights are distributed over the matrices of a model.

    kept(sizes, total, *evidence, **settings) -> name -> number of kept weights of each matrix; they sum to `total`.
        `sizes` is name -> (rows, columns).
    needs: what the allocation reads besides shapes.
        `shapes`: nothing, so the config check knows the counts before there is a model.
        `inputs`: `evidence` yields (weight names, |W| * input norms in one vector) for each decoder block of the dense
        model; the method must read calibration text.
        `scores`: `evidence` is a function (name -> non-negative float32 [rows, columns]), the method's own `scores`.
    """

    kept: Callable
    needs: str = "shapes"

    def __post_init__(self):
        if self.needs not in NEEDS:
            raise UserError(f"allocation: found needs {self.needs!r}, expected one of {', '.join(NEEDS)}")
