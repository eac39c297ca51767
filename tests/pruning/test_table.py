"""The table of methods in docs/methods.md is what the methods say of themselves."""

from pathlib import Path

from sparse_continual import registry
from sparse_continual.pruning.table import HEAD, line

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")


def test_every_method_has_its_line_in_order():
    table = PAGE[PAGE.index(HEAD) :].split("\n\n")[0].splitlines()[2:]
    wanted = [line(name) for name in registry.names("pruning.methods")]
    assert [row for row in table if row in wanted] == wanted
    for name in registry.names("pruning.methods"):  # and no line that was true once
        assert sum(row.startswith(f"| `{name}` |") for row in table) == 1
