"""The smallest difference that the study can detect, against the number of blocks.

For a paired t test at the level divided by the number of separate claims, with a power of 80 %: with the SD that the
plan assumed, with a pilot's, and with those of the study itself. Limit: the observed SDs are estimates; power from them
describes the study's precision and excuses no result.
"""

import math

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Detectable difference against the number of blocks")
CAPTION = (
    "True difference that a test of the study's claims finds with 80 % power, by number of blocks (or bases), for"
    " each metric: with the SD of a paired difference that the plan assumed (of an interaction a larger one), with"
    " a pilot's, and with those observed; a band goes from the smallest to the largest SD, its line is their"
    " median. The upright line is the study's number, the dotted one the difference that it wished to see; in the"
    " hatched area the exact sign-flip test cannot reach the level at all."
)
_SOURCES = {
    "planning": ("planned SD", {"color": _style.BLACK, "linestyle": "-"}),
    "pilot": ("pilot's SD", {"color": _style.BLACK, "linestyle": "-.", "linewidth": 1}),
    "observed": ("observed SD", {"color": _style.GREY, "linestyle": "--"}),
}
_HATCH = {"facecolor": "none", "edgecolor": _style.PALE, "hatch": "////", "linewidth": 0}


def draw(tables, settings):
    rows = _style.of_stream(tables["power"], settings)
    rows = rows[rows.sd > 0]
    title = settings["title"]
    if rows.empty:
        return _style.empty(title, "No claim is tested on this stream, or no SD is known.")
    n, level, tests = int(rows.n.max()), rows.level.iloc[0], int(rows.tests.max())
    unit = _unit(max(20, math.ceil(2.2 * n)), level / tests)
    metrics = {metric.replace("_", " "): metric for metric in rows.metric}
    axis = "detectable\ndifference (points)"
    drawing, axes = _style.panels(list(metrics), title, 1.35, "blocks", axis, legend=3)
    top = 0
    for name, ax in axes.items():
        metric_rows = rows[rows.metric == metrics[name]]
        for source, (_, look) in _SOURCES.items():
            sds = 100 * metric_rows[metric_rows.source == source].sd
            if len(sds):
                _curve(ax, unit, sds, look)
                top = max(top, sds.median() * unit[min(max(n, 4), 8)])
        ax.axvspan(0, _reached(level) - 0.5, **_HATCH)
        ax.axvline(n, color=_style.BLACK, linewidth=0.7)
        for effect in dict.fromkeys(100 * metric_rows.effect.dropna()):
            ax.axhline(effect, color=_style.BLACK, linewidth=0.8, linestyle=":")
            top = max(top, effect)
    ax.set_ylim(0, 1.25 * top)
    ax.set_xlim(min(unit), max(unit))
    _legend(drawing, [source for source in _SOURCES if source in set(rows.source)], n, tests)
    return drawing


def _unit(most: int, level: float) -> dict[int, float]:
    """Number of blocks -> detectable difference in SDs, to which it is proportional."""
    from sparse_continual.statistics import power

    return {blocks: power.detectable(blocks, 1.0, level) for blocks in range(3, most + 1)}


def _reached(level: float) -> int:
    """Fewest blocks with which the exact test can reach the level."""
    from sparse_continual.statistics import power

    return next(blocks for blocks in range(2, 100) if power.exact_reaches(blocks, level))


def _curve(ax, unit: dict, sds, look: dict) -> None:
    if sds.nunique() > 1:
        low, high = ([sd * size for size in unit.values()] for sd in (sds.min(), sds.max()))
        ax.fill_between(list(unit), low, high, color=look["color"], alpha=0.2, linewidth=0)
    ax.plot(list(unit), [sds.median() * size for size in unit.values()], **look)


def _legend(drawing, sources, n: int, tests: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Line2D([], [], label=_SOURCES[source][0], **_SOURCES[source][1]) for source in sources]
    of = "one claim" if tests == 1 else f"{tests} claims"
    handles += [
        Line2D([], [], color=_style.BLACK, linewidth=0.7, label=f"n = {n}; {of}"),
        Line2D([], [], color=_style.BLACK, linewidth=0.8, linestyle=":", label="wished difference"),
        Patch(label="exact test too coarse", **_HATCH),
    ]
    _style.legend(drawing, handles, across=2)


FIGURE = Figure(draw, caption=CAPTION, study_tables=("power",), section="power", order=10)
