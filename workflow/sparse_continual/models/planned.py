"""Compare a model in memory, and the result, with the plan that priced them; stop at the first different number."""

from sparse_continual.errors import UserError
from sparse_continual.models.load import matrix_of, prunable

AGAIN = "expected the same number; delete results/store/architectures and plan again; report it if the difference stays"


def check_counts(folder, model, planned: dict) -> None:
    """Raise UserError, naming `folder` and the first difference, unless `model` has the planned
    {matrices: name -> (outputs, inputs), parameters: number of values}.
    """
    shapes = {name: tuple(matrix_of(module).shape) for name, module in prunable(model).items()}
    expected = {name: tuple(size) for name, size in planned["matrices"].items()}
    for name in dict.fromkeys((*expected, *shapes)):
        if expected.get(name) != shapes.get(name):
            sizes = (_by(shapes.get(name)), _by(expected.get(name)))
            raise UserError(
                f"{folder}: {name} is {sizes[0]} in the model and {sizes[1]} in the plan; {AGAIN}"
            )
    total = sum(parameter.numel() for parameter in model.parameters())
    if total != planned["parameters"]:
        raise UserError(
            f"{folder}: the model has {total:,} parameters and the plan {planned['parameters']:,}; {AGAIN}"
        )


def check_nonzeros(folder, counted: int, planned: int | None, at_most=False) -> None:
    """Raise UserError unless the number of existing prunable weights is the planned one, or with `at_most` not above
    it; planned None: the plan has no number.
    """
    if planned is not None and counted != planned and not (at_most and counted < planned):
        raise UserError(
            f"{folder}: {counted:,} block weights exist in the topology that was made, but {planned:,} in the plan; "
            f"{AGAIN}"
        )


def _by(size) -> str:
    return "missing" if size is None else f"{size[0]} x {size[1]}"
