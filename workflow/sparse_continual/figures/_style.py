"""One look for all figures: sizes, colours, panels.

Colours are those of Okabe and Ito, which stay apart under the common colour-blindnesses; images use
cividis, which does so too. Text is 8 pt at the printed width (3.4 in a column, 7 in both).
"""

import math
from contextlib import contextmanager

from sparse_continual.errors import UserError
from sparse_continual.registry import nearest

COLUMN, DOUBLE = 3.4, 7.0
BLACK, ORANGE, SKY, GREEN, BLUE, RED = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
GREY, PALE = "#767676", "#C8C8C8"
SCORES = "cividis"
LABELS = {
    "forgetting": "forgetting (points)",
    "forward_transfer": "forward transfer (points)",
}

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so glyphs are alike on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "svg.hashsalt": "sparse-continual",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def style():
    """Matplotlib with the project's settings alone, whatever the user's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def figure(width: float, height: float, title: str):
    """An empty figure of a size in inches, its title above at the left."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    made.get_layout_engine().set(w_pad=0.06, h_pad=0.04, wspace=0.03, hspace=0.04)
    made.suptitle(title, x=0.01, ha="left")
    return made


def panels(names: list[str], title: str, height: float, across: int = 5):
    """(figure, {name: axes}): one titled panel per name with shared axes, at most `across` in a row.

    `height` is that of one row in inches. Up to two panels fit one column's width.
    """
    columns = min(across, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    made = figure(DOUBLE if columns > 2 else COLUMN, 0.55 + rows * height, title)
    grid = made.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = dict(zip(names, grid.flat, strict=False))
    for name, ax in axes.items():
        ax.set_title(name)
    for ax in list(grid.flat)[len(names) :]:
        ax.set_axis_off()
    for column, ax in enumerate(grid[-1]):
        if not ax.axison and rows > 1:  # the panel above the gap carries the ticks
            grid[-2][column].xaxis.set_tick_params(labelbottom=True)
    return made, axes


def empty(title: str, sentence: str):
    """A figure that says why there is nothing to draw."""
    made = figure(COLUMN, 1.0, title)
    ax = made.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, sentence, ha="center", va="center", color=GREY, wrap=True)
    return made


PART = {"type": "string", "description": "all, or the name of a part of the items", "default": "all"}


def of_part(scores, part: str, figure: str):
    """The rows of `scores` on the stream's tasks and the items of `part`.

    Raises UserError naming the setting of the `figure` when the stream has no such part.
    """
    stream = scores[scores.position > 0]
    known = list(dict.fromkeys(stream.part))
    if part not in known:
        raise UserError(
            f"figures.{figure}.part: found {part!r}, expected one of {', '.join(known)}{nearest(part, known)}"
        )
    return stream[stream.part == part]


def schema(title: str, **own: dict) -> dict:
    """The SCHEMA of a figure: its title, and settings of its `own` by name."""
    words = {"type": "string", "description": "title of the figure", "default": title}
    return {"type": "object", "additionalProperties": False, "properties": {"title": words, **own}}


def spread(n: int, width: float = 0.5) -> list[float]:
    """Offsets of n dots around a row, fixed so that a figure is the same each time."""
    return [width * ((k + 0.5) / n - 0.5) for k in range(n)]


def interval(ax, y: float, lower: float, upper: float, **look) -> None:
    """A horizontal interval; nothing where it is not defined (one block, no variance)."""
    if not (math.isnan(lower) or math.isnan(upper)):
        ax.plot([lower, upper], [y, y], solid_capstyle="butt", **look)
