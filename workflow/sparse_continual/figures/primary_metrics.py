"""Forgetting and forward transfer of every condition: every block's dot, the mean and its t interval.

Knob: `scale`, raw or chance-corrected. Limit: overlapping intervals of two conditions say nothing
about their difference, which is paired by block; that is the figure of paired differences.
"""

from sparse_continual.figures import _style

SCHEMA = _style.schema(
    "Forgetting and forward transfer of every condition",
    scale={
        "enum": ["raw", "corrected"],
        "description": "raw scores, or corrected for chance and ceiling",
        "default": "raw",
    },
)
TABLES = ("statistics/metrics", "statistics/summary")
PLACE = 2  # in the report
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
    names = list(dict.fromkeys(summary.condition))
    made = _style.figure(_style.DOUBLE, 0.8 + 0.24 * len(names), settings["title"])
    axes = made.subplots(1, 2, sharey=True)
    for ax, metric, colour in zip(
        axes, ("forgetting", "forward_transfer"), (_style.RED, _style.BLUE), strict=True
    ):
        for row, name in enumerate(names):
            own = values[(values.condition == name) & (values.metric == metric)]
            ax.plot(
                100 * own.value,
                [row + dy for dy in _style.spread(len(own))],
                "o",
                color=colour,
                alpha=0.4,
                ms=3,
                mew=0,
            )
            of = summary[(summary.condition == name) & (summary.metric == metric)].iloc[0]
            _style.interval(ax, row, 100 * of.lower, 100 * of.upper, color=colour)
            ax.plot(100 * of["mean"], row, "|", color=colour, ms=9, mew=1.6)
        ax.axvline(0, color=_style.GREY, linewidth=0.6)
        ax.set_xlabel(_style.LABELS[metric] + ("" if scale == "raw" else ", chance-corrected"))
        ax.grid(axis="y", color=_style.PALE, linewidth=0.4)
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return made
