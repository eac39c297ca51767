"""Seconds and memory of every topology: to prune, to pretrain under its mask, to recover.

Limit: times are those of one machine with its other load, and of one size of model; benchmarks/pruning.md measures how
both grow. In models of a few megabytes the libraries' share of a process's memory is as large as the method's.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("What methods cost")
STEPS = {  # the stage that ends the step: (marker, face, edge, name)
    "pruned": ("o", _style.RED, _style.RED, "pruning"),
    "trained": ("D", "white", _style.BLUE, "pretraining under the mask"),
    "recovered": ("|", _style.GREY, _style.GREY, "recovery"),
}
CAPTION = (
    "Wall seconds of every step, and by how much memory grew in it beyond what the process held before, median over"
    " blocks, on the machine of this run. Methods that train read far more text than those that look once."
    " What is absent costs no time less here: models run as dense matrices with zeros, whatever their pattern."
)


def draw(tables, settings):
    costs = tables["costs"]
    names = list(dict.fromkeys(costs.topology))
    if not names:
        return _style.empty(settings["title"], "No topology of this study was measured.")
    rows, heights = _style.labels(names, least=0.2)
    at = dict(zip(names, _style.places(heights), strict=True))
    drawing = _style.figure(1.0 + sum(heights), settings["title"])
    axes = drawing.subplots(1, 2, sharey=True)
    shown = [stage for stage in STEPS if stage in set(costs.stage)]
    columns = (("seconds", 1, "seconds"), ("added_bytes", 1e6, "memory added\n(MB)"))
    for ax, (column, unit, label) in zip(axes, columns, strict=True):
        for y in at.values():
            ax.axhline(y, color=_style.PALE, linewidth=0.4, zorder=0)
        for stage in shown:
            medians = costs[costs.stage == stage].groupby("topology", sort=False)[column].median() / unit
            marker, face, edge, _ = STEPS[stage]
            y = [at[name] for name in medians.index]
            ax.plot(medians, y, marker, ms=5, mfc=face, mec=edge, mew=1.0, linestyle="")
        ax.set_xlabel(label)
    _style.logarithmic(axes[0])
    axes[1].set_xlim(left=0)
    axes[1].locator_params(axis="x", nbins=4)
    _style.name_rows(axes[0], rows, heights)
    _legend(drawing, shown)
    return drawing


def _legend(drawing, shown):
    from matplotlib.lines import Line2D

    looks = [STEPS[stage] for stage in shown]
    handles = [
        Line2D([], [], linestyle="", marker=marker, ms=5, mfc=face, mec=edge, label=name)
        for marker, face, edge, name in looks
    ]
    _style.legend(drawing, handles, across=3)


# the one section of the page that shows times
FIGURE = Figure(draw, caption=CAPTION, tables=("tables/costs",), section="environment", order=10)
