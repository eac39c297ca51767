"""The contract of a figure: what it reads, what it draws and where the report shows it.

A figure is one file in this folder, named as the config names it. It has

- a docstring: what it shows, its settings, its limits;
- `SCHEMA`, the JSON schema of its settings, from `_style.schema(title, **own)`;
- `FIGURE = Figure(draw, caption=..., ...)` as its last statement.

A new figure is this file, and its caption in `report/templates/meanings.<language>.yaml` for each other language. A
study draws it if its config has `figures: {<name>: {...}}`. `density.py` is a short example. The file must import
without matplotlib and pandas: import them inside functions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sparse_continual.errors import UserError

# sections of the report's page that show figures, in the order of the page
SECTIONS = "claims primary gates secondary topology curves sensitivity power environment".split()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a figure of one stream is made of.

    draw(tables, settings) -> matplotlib figure. `tables` is name -> data frame of every table below, without its
        folder; `settings` are the figure's own, and `stream` and `level` of the study. `_style` has sizes and colours.
    caption: what a reader sees, in a few English sentences.
    tables: tables of the stream that the figure reads, as `folder/name` below `results/<study>/<stream>`.
    study_tables: tables of the whole study that it reads, by name.
    section: section of the report that shows it, one of SECTIONS.
    order: its place among the figures of its section, from small to large; equal ones stand by name.
    """

    draw: Callable = field(kw_only=False)
    caption: str
    tables: tuple[str, ...] = ()
    study_tables: tuple[str, ...] = ()
    section: str = "secondary"
    order: int = 100

    def __post_init__(self):
        if self.section not in SECTIONS:
            raise UserError(f"figure: found section {self.section!r}, expected one of {', '.join(SECTIONS)}")
