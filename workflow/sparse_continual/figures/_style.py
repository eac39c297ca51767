"""One style for all figures: sizes, colours, marks, panels.

Every figure has the width of one column of print (3.4 in) and text of 7 or 8 pt. Colours are those of Okabe and Ito,
which are distinct under the common colour-blindnesses; images use cividis, which is too. No information is in colour
alone: marks differ in shape and filling, lines in their dashes, so that a grey print shows the same.
"""

import math
import re
from contextlib import contextmanager

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.registry import nearest
from sparse_continual.statistics.metrics import PRIMARY

COLUMN = 3.4
BLACK, ORANGE, SKY, GREEN, BLUE, RED = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
GREY, PALE = "#767676", "#C8C8C8"
SCORES = "cividis"
LABELS = {metric: f"{metric.replace('_', ' ')}\n(points)" for metric in PRIMARY}

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so glyphs are the same on every machine
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
    """Matplotlib with only the project's settings, independent of the user's own matplotlibrc."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def wrapped(words: str, width: int) -> str:
    """`words` over lines of at most `width` letters, broken after spaces, underscores and hyphens.

    A longer word is broken at the end of the line.
    """
    lines, line = [], ""
    for piece in re.split(r"(?<=[ _-])", words):
        if line and len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
        while len(line.rstrip()) > width:
            lines.append(line[:width])
            line = line[width:]
    return "\n".join([*lines, line.rstrip()] if line.strip() or not lines else lines)


def _lines(words: str) -> int:
    return words.count("\n") + 1 if words else 0


def figure(height: float, title: str):
    """An empty figure of one column's width and a height in inches, its title above at the left.

    A long title takes more lines; the figure grows by these lines.
    """
    from matplotlib.figure import Figure

    words = wrapped(title, 50)
    drawing = Figure(figsize=(COLUMN, height + 0.15 * (_lines(words) - 1)), layout="constrained")
    drawing.get_layout_engine().set(w_pad=0.04, h_pad=0.04, wspace=0.03, hspace=0.04)
    drawing.suptitle(words, x=0.01, ha="left")
    return drawing


def panels(names: list[str], title: str, height: float, xlabel: str, ylabel: str, legend: int = 0):
    """(figure, {name: axes}): one titled panel per name with shared axes, at most three in a row.

    `height` is that of one row in inches, without the names; `xlabel` is below every column, with room for a legend of
    `legend` rows.
    """
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    titles = {name: wrapped(name, 42 // columns) for name in names}
    height += 0.12 * max(_lines(words) for words in titles.values())
    drawing = figure(0.55 + rows * height + 0.16 * legend, title)
    grid = drawing.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = dict(zip(names, grid.flat, strict=False))
    for name, ax in axes.items():
        ax.set_title(titles[name], fontsize=7)
    for ax in list(grid.flat)[len(names) :]:
        ax.set_axis_off()
    for column, ax in enumerate(grid[-1]):
        lowest = ax if ax.axison else grid[-2][column]  # above a gap, the panel gets ticks and label
        lowest.xaxis.set_tick_params(labelbottom=True)
        lowest.set_xlabel(xlabel, fontsize=7)
    drawing.supylabel(ylabel, fontsize=8)
    return drawing, axes


def empty(title: str, sentence: str):
    """A figure with a sentence why there is nothing to draw."""
    words = wrapped(sentence, 54)
    drawing = figure(0.7 + 0.15 * _lines(words), title)
    ax = drawing.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, ha="center", va="center", color=GREY)
    return drawing


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


def of_stream(rows, settings: dict):
    """The rows of a table of the whole study on the stream `settings["stream"]`, between it and another, or none."""
    return rows.loc[[names == "" or settings["stream"] in names.split(" - ") for names in rows.stream]]


def curve(values, level: float, differences):
    """(x, mean, lower, upper) of `values`, a series by (x, block): one interval of the mean per x.

    The unit is that of every statistic, the base if blocks share bases: the table of `differences` has the base of each
    block.
    """
    from sparse_continual.statistics import contrasts, paired

    bases = dict(zip(differences.block, differences.base, strict=True))
    points = []
    for x, column in values.dropna().groupby(level=0):
        blocks = dict(zip(column.index.get_level_values(1), column, strict=True))
        units, _ = contrasts.units(blocks, {block: bases.get(block, block) for block in blocks})
        points.append((x, float(units.mean()), *paired.interval(units, level)))
    return tuple(zip(*points, strict=True)) if points else ((), (), (), ())


def primary(contrasts):
    """The rows of a table of contrasts on the two primary metrics."""
    return contrasts[contrasts.metric.isin(PRIMARY)]


def true(column):
    """A column of `true` and `false` as booleans, in any type it was read; empty cells are False."""
    return column.map(tables.true).astype(bool)


def schema(title: str, **own: dict) -> dict:
    """The SCHEMA of a figure: its title, and settings of its `own` by name."""
    words = {"type": "string", "description": "title of the figure", "default": title}
    return {"type": "object", "additionalProperties": False, "properties": {"title": words, **own}}


def spread(n: int, width: float = 0.5) -> list[float]:
    """Offsets of n dots around a row, fixed so that the figure is always the same."""
    return [width * ((k + 0.5) / n - 0.5) for k in range(n)]


def interval(ax, y: float, lower: float, upper: float, **look) -> None:
    """A horizontal interval; nothing if it is not defined (one block, no variance)."""
    if not (math.isnan(lower) or math.isnan(upper)):
        ax.plot([lower, upper], [y, y], solid_capstyle="butt", **look)


def fit(ax, points, intervals, upright: bool = False) -> None:
    """Limits of x that contain 0, all `points`, and `intervals` up to three times the points' range.

    `intervals` are (y, lower, upper). An interval of few blocks can be so wide that it would hide everything else; if
    it exceeds the limits, it ends in an arrow head. With `upright`, x and y change roles.
    """
    known = [0.0, *(float(point) for point in points if not math.isnan(point))]
    reach = max(3 * (max(known) - min(known)), 0.01)
    ends = [end for _, *both in intervals for end in both if not math.isnan(end)]
    low = min(known + [max(end, min(known) - reach) for end in ends])
    high = max(known + [min(end, max(known) + reach) for end in ends])
    margin = 0.06 * (high - low) or 1.0
    low, high = low - margin, high + margin
    (ax.set_ylim if upright else ax.set_xlim)(low, high)
    ax.locator_params(axis="y" if upright else "x", nbins=4)
    for place, lower, upper in intervals:
        for beyond, edge, mark in ((lower < low, low, "<v"[upright]), (upper > high, high, ">^"[upright])):
            if beyond:
                at = (place, edge) if upright else (edge, place)
                ax.plot(*at, mark, color=BLACK, ms=3, mew=0, clip_on=False)


def logarithmic(ax) -> None:
    """Make x logarithmic after all is drawn, with at most four ticks as plain numbers, away from the edges."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log")
    low, high = (math.log10(end) for end in ax.get_xlim())
    edge = 0.08 * (high - low)
    ticks = [m * 10.0**k for k in range(math.floor(low), math.ceil(high)) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if low + edge <= math.log10(tick) <= high - edge]
    ax.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 4) or 1]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def labels(names: list[str], below: list[str] | None = None, width: int = 20, least: float = 0) -> tuple:
    """(pairs, heights): names of rows with a few words `below` each, broken at `width` letters, and the
    inches that each row needs for them, at least `least`."""
    pairs = [
        (wrapped(name, width), wrapped(words, width))
        for name, words in zip(names, below or [""] * len(names), strict=True)
    ]
    return pairs, [max(least, 0.115 * (_lines(name) + _lines(words)) + 0.08) for name, words in pairs]


def places(heights: list[float]) -> list[float]:
    """The middles of rows of these heights, from the top: y of axes from 0 to their sum, downwards."""
    return [sum(heights[:row]) + height / 2 for row, height in enumerate(heights)]


def name_rows(ax, pairs: list, heights: list[float], right: bool = False) -> None:
    """Give `ax` rows of these heights and write `pairs` of `labels` left of them, or at the `right`."""
    line = 0.115 * 72
    ax.set_ylim(sum(heights), 0)
    for y, (name, words) in zip(places(heights), pairs, strict=True):
        half = (_lines(name) + _lines(words)) / 2
        edge = (half - _lines(name)) * line  # above the middle of the row, where the name ends
        for part, shift, side, colour in ((name, edge, "bottom", BLACK), (words, edge, "top", GREY)):
            ax.annotate(
                part,
                (1.0 if right else 0.0, y),
                xycoords=ax.get_yaxis_transform(),
                xytext=(4 if right else -4, shift if words else 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va=side if words else "center",
                color=colour,
                fontsize=7,
                linespacing=1.1,
            )
    ax.set_yticks([])


def groups(ax, of: list[str], heights: list[float]) -> None:
    """Thin lines between rows of these heights where the values `of` change."""
    for row in range(1, len(of)):
        if of[row] != of[row - 1]:
            ax.axhline(sum(heights[:row]), color=PALE, linewidth=0.6)


def legend(drawing, handles, across: int) -> None:
    """A legend below the figure (or subfigure), `across` entries in a row."""
    drawing.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(across, len(handles)),
        handlelength=2.2,
        columnspacing=1.0,
        borderaxespad=0.2,
    )
