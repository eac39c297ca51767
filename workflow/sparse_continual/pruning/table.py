"""The table of docs/methods.md, from the docstrings of the methods and what they declare.

`python -m sparse_continual.pruning.table` prints it.
"""

import re

from sparse_continual import registry

HEAD = "| method | what goes | patterns | allocations | reads |\n|---|---|---|---|---|"


def table() -> str:
    """Markdown: one line per method, by name."""
    return "\n".join([HEAD, *(line(name) for name in registry.names("pruning.methods"))])


def line(name: str) -> str:
    """A method's line: the first sentence of its docstring up to its source, patterns, allocations, needs."""
    method = registry.load("pruning.methods", name)
    words = " ".join(method.__doc__.split()).removeprefix(f"{name}: ")
    what = re.split(r" \(|[.;:] ", words)[0].rstrip(".")
    reads = "text, to train on" if "steps" in method.SCHEMA["properties"] else "text"
    if not method.NEEDS_CALIBRATION:
        reads = "what the other method reads" if hasattr(method, "based_on") else ""
    cells = [
        f"`{name}`",
        what,
        ", ".join(method.PATTERNS) or "as found",
        ", ".join(method.ALLOCATIONS),
        reads,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())
