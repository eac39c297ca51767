"""Dots per block: the paired difference of every contrast, for both primary metrics.

Each contrast is an estimand of its own and is never pooled with another. Nothing is judged here: the claims decide
which differences are findings. Limit: levels of single arms are in the figure of the primary metrics, because they need
its scale.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Paired differences of every block, per estimand")
CAPTION = (
    "Difference of each contrast, plus side less minus side, in points. Small dots are blocks, the large mark"
    " their mean, the thick line its interval, adjusted for nothing; the dashed line is the bootstrap-t"
    " interval, where the differences are skewed. An open mark says that the plus side may have learnt less"
    " by more than the margin. Left of zero is less forgetting, right of zero more forward transfer. The"
    " estimand stands below the name where it is another."
)


def draw(tables, settings):
    contrasts = tables["contrasts"]
    contrasts = contrasts[(contrasts.role == "primary") & (contrasts.estimand != "level")]
    title = settings["title"]
    if contrasts.empty:
        return _style.empty(title, "This study has no contrasts between arms.")
    estimands = dict(zip(contrasts.contrast, contrasts.estimand, strict=True))
    below = ["" if of == name else of.replace("_", " ") for name, of in estimands.items()]
    names, heights = _style.labels(list(estimands), below, least=0.29)
    at = dict(zip(estimands, _style.places(heights), strict=True))
    drawing = _style.figure(1.1 + sum(heights), title)
    axes = drawing.subplots(1, 2, sharey=True)
    differences = tables["differences"]
    for ax, metric in zip(axes, _style.PRIMARY, strict=True):
        dots = differences[(differences.metric == metric) & (differences.scale == "raw")]
        dots = {name: 100 * dots[dots.contrast == name].difference for name in estimands}
        rows = contrasts[contrasts.metric == metric].assign(passed=_style.true(contrasts.gate_passed))
        rows = {row["contrast"]: row for row in rows.to_dict("records")}
        ax.axvline(0, color=_style.GREY, linewidth=0.8)
        for name in rows:
            _row(ax, at[name], rows[name], dots[name])
        wide = [(at[name], 100 * row["lower"], 100 * row["upper"]) for name, row in rows.items()]
        _style.fit(ax, [x for values in dots.values() for x in values], wide)
        _style.groups(ax, list(estimands.values()), heights)
        ax.set_xlabel(_style.LABELS[metric])
        ax.spines["left"].set_visible(False)
    _style.name_rows(axes[0], names, heights)
    _legend(drawing, contrasts)
    return drawing


def _row(ax, y, row, dots):
    ax.plot(
        dots, [y + 0.08 + dy for dy in _style.spread(len(dots), 0.06)], "o", color=_style.SKY, ms=2.5, mew=0
    )
    if str(row["skewed"]).lower() == "true":
        ends = 100 * row["bootstrap_lower"], 100 * row["bootstrap_upper"]
        _style.interval(ax, y - 0.07, *ends, color=_style.BLACK, linewidth=0.8, linestyle="--")
    _style.interval(ax, y, 100 * row["lower"], 100 * row["upper"], color=_style.BLACK, linewidth=2)
    ax.plot(100 * row["mean"], y, "o", mfc=_style.BLACK if row["passed"] else "white", mec=_style.BLACK, ms=5)


def _legend(drawing, contrasts):
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", color=_style.SKY, ms=2.5, label="one block"),
        Line2D([], [], marker="o", color=_style.BLACK, linewidth=2, ms=5, label="mean and interval"),
    ]
    if not _style.true(contrasts.gate_passed).all():
        handles.append(
            Line2D(
                [], [], linestyle="", marker="o", mfc="white", mec=_style.BLACK, ms=5, label="may learn less"
            )
        )
    if _style.true(contrasts.skewed).any():
        handles.append(
            Line2D([], [], color=_style.BLACK, linewidth=0.8, linestyle="--", label="bootstrap-t, if skewed")
        )
    _style.legend(drawing, handles, across=2)


FIGURE = Figure(
    draw,
    caption=CAPTION,
    tables=("statistics/contrasts", "statistics/differences"),
    section="primary",
    order=10,
)
