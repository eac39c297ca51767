"""Forgetting and forward transfer of every condition: every block's dot, the mean and its t interval.

Knob: `scale`, raw or chance-corrected. Limit: overlapping intervals of two conditions say nothing
about their difference, which is paired by block; that is the figure of paired differences.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema(
    "Forgetting and forward transfer of every condition",
    scale={
        "enum": ["raw", "corrected"],
        "description": "raw scores, or corrected for chance and ceiling",
        "default": "raw",
    },
)
CAPTION = (
    "Each pale dot is one block, the upright stroke their mean, the line its 95 % t interval (or the level"
    " that the study sets). Read differences between conditions in the figure of paired differences, not"
    " from overlaps here."
)


def draw(tables, settings):
    scale = settings["scale"]
    values, summary = (
        table[(table.scale == scale) & (table.part == "all")]
        for table in (tables["metrics"], tables["summary"])
    )
    conditions = list(dict.fromkeys(summary.condition))
    if not conditions:
        return _style.empty(settings["title"], "No condition of this study was scored.")
    names, heights = _style.labels(conditions, least=0.22)
    at = _style.places(heights)
    drawing = _style.figure(0.9 + sum(heights), settings["title"])
    axes = drawing.subplots(1, 2, sharey=True)
    for ax, metric, colour in zip(axes, _style.PRIMARY, (_style.RED, _style.BLUE), strict=True):
        dots, wide = [], []
        for row, name in zip(at, conditions, strict=True):
            points = 100 * values[(values.condition == name) & (values.metric == metric)].value
            look = {"color": colour, "alpha": 0.45, "ms": 3, "mew": 0}
            ax.plot(points, [row + dy for dy in _style.spread(len(points), 0.1)], "o", **look)
            dots += list(points)
            for of in summary[(summary.condition == name) & (summary.metric == metric)].to_dict("records"):
                wide.append((row, 100 * of["lower"], 100 * of["upper"]))
                _style.interval(ax, *wide[-1], color=colour)
                ax.plot(100 * of["mean"], row, "|", color=colour, ms=9, mew=1.6)
        ax.axvline(0, color=_style.GREY, linewidth=0.6)
        _style.fit(ax, dots, wide)
        for row in at:
            ax.axhline(row, color=_style.PALE, linewidth=0.4, zorder=0)
        ax.set_xlabel(_style.LABELS[metric] + ("" if scale == "raw" else ",\ncorrected"))
    _style.name_rows(axes[0], names, heights)
    return drawing


FIGURE = Figure(draw, caption=CAPTION, tables=("statistics/metrics", "statistics/summary"), order=10)
