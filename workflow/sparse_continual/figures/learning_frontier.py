"""Forgetting against learning over the grid of learning rates, one panel per condition.

The learning rate changes forgetting far more than topology does, so the whole frontier is shown and not only the chosen
point. Values are validation scores of the tuning blocks, which are not part of any test. Limit: few tuning blocks and a
shorter stream: shapes can be compared, not small differences.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Forgetting against learning over the learning-rate grid")
CAPTION = (
    "Each dot is a learning rate of the grid, small to large along the line, mean over the tuning blocks"
    " on their validation splits (they enter no test). The ring marks the rate that the rule chose. The other"
    " conditions are drawn in grey. Further right is more learning, further down less forgetting."
)


def draw(tables, settings):
    title = settings["title"]
    frontier = tables["frontier"].dropna(subset=["forgetting"])
    if frontier.empty:
        return _style.empty(title, "The tuning streams have one task each: nothing could be forgotten.")
    means = frontier.groupby(["condition", "learning_rate", "chosen"], sort=False)[
        ["learning_accuracy", "forgetting"]
    ].mean()
    means = (100 * means).reset_index().sort_values("learning_rate", kind="stable")
    names = list(dict.fromkeys(frontier.condition))
    drawing, axes = _style.panels(names, title, 1.0, "learning (points)", "forgetting (points)")
    for name, ax in axes.items():
        for other in names:
            line = means[means.condition == other]
            if other != name:
                ax.plot(line.learning_accuracy, line.forgetting, color=_style.PALE, linewidth=0.6)
        line = means[means.condition == name]
        ax.plot(line.learning_accuracy, line.forgetting, "o-", color=_style.BLUE, ms=3)
        chosen = line[line.chosen]
        ring = {"mfc": "none", "mec": _style.RED, "mew": 1.2, "ms": 8, "clip_on": False}
        ax.plot(chosen.learning_accuracy, chosen.forgetting, "o", **ring)
        for rate in chosen.learning_rate:
            ax.text(
                0.04, 0.96, f"chosen {rate:g}", transform=ax.transAxes, va="top", fontsize=7, color=_style.RED
            )
    low, high = next(iter(axes.values())).get_ylim()
    next(iter(axes.values())).set_ylim(low, high + 0.18 * (high - low))  # room for the words
    return drawing


FIGURE = Figure(draw, caption=CAPTION, tables=("statistics/frontier",), section="gates", order=10)
