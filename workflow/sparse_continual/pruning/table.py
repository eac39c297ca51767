"""The table of docs/methods.md, made from the docstrings and declarations of the methods.

`python -m sparse_continual.pruning.table` prints it.
"""

import re

from sparse_continual import registry

HEAD = "| method | what goes | patterns | allocations | reads |\n|---|---|---|---|---|"


def table() -> str:
    """Markdown: one line per method, sorted by name."""
    return "\n".join([HEAD, *(line(name) for name in registry.names("pruning.methods"))])


def line(name: str) -> str:
    """A method's line: the first sentence of its docstring up to its source, patterns, allocations, needs."""
    method = registry.load("pruning.methods", name)
    words = " ".join(registry.docstring("pruning.methods", name).split()).removeprefix(f"{name}: ")
    what = re.split(r" \(|[.;:] ", words)[0].rstrip(".")
    reads = (
        "text, to train on" if "steps" in registry.schema("pruning.methods", name)["properties"] else "text"
    )
    if not method.needs_calibration:
        reads = "what the other method reads" if method.based_on else ""
    cells = [
        f"`{name}`",
        what,
        ", ".join(method.patterns) or "as found",
        ", ".join(method.allocations),
        reads,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())
