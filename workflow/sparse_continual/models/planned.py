"""Whether a model in memory, and what was made of it, are those that the plan priced: one number in both, or a stop."""

from sparse_continual.errors import UserError
from sparse_continual.models.load import matrix_of, prunable

AGAIN = (
    "expected one number in both; delete results/store/architectures and plan again; report it if it stays"
)


def check_counts(folder, model, planned: dict) -> None:
    """Raise UserError, naming `folder` and the first difference, unless `model` has the planned
    {matrices: name -> (outputs, inputs), parameters: number of values}.
    """
    found = {name: tuple(matrix_of(module).shape) for name, module in prunable(model).items()}
    expected = {name: tuple(size) for name, size in planned["matrices"].items()}
    for name in dict.fromkeys((*expected, *found)):
        if expected.get(name) != found.get(name):
            sizes = (_by(found.get(name)), _by(expected.get(name)))
            raise UserError(
                f"{folder}: {name} is {sizes[0]} in the model and {sizes[1]} in the plan; {AGAIN}"
            )
    total = sum(parameter.numel() for parameter in model.parameters())
    if total != planned["parameters"]:
        raise UserError(
            f"{folder}: the model has {total:,} parameters and the plan {planned['parameters']:,}; {AGAIN}"
        )


def check_nonzeros(folder, counted: int, planned: int | None, at_most=False) -> None:
    """Raise UserError unless as many prunable weights exist as planned, or `at_most` so many; None: the plan does not
    say.
    """
    if planned is not None and counted != planned and not (at_most and counted < planned):
        raise UserError(
            f"{folder}: {counted:,} block weights exist in the topology that was made and {planned:,} in the plan; "
            f"{AGAIN}"
        )


def _by(size) -> str:
    return "missing" if size is None else f"{size[0]} x {size[1]}"
