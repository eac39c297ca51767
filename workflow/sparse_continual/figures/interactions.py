"""Interactions: the four means of every 2 x 2, and how far they are from adding up.

A contrast of two against two, (a - b) - (c - d), asks whether the step from b to a on one side is as large as on the
other: a mechanism on sparse and on dense weights, or masked writes on both. Limit: the intervals of the four means say
nothing about the interaction, which is paired by block and has its own.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Interactions")
CAPTION = (
    "Means of four arms with their intervals, in points: two pairs, each from its arm without to its arm"
    " with the change. If what the change does added up, the filled line would end at the cross; the line"
    " through the cross is the interval of the interaction, whose value stands above: it holds zero where the"
    " line reaches the height of the filled mark on the right. It is adjusted for nothing."
)
_PAIRS = (
    {"marker": "o", "color": _style.BLACK, "mfc": _style.BLACK, "linestyle": "-"},
    {"marker": "s", "color": _style.GREY, "mfc": "white", "linestyle": "--"},
)


def draw(tables, settings):
    contrasts = tables["contrasts"]
    contrasts = contrasts[(contrasts.role == "primary") & contrasts.plus.str.contains(" + ", regex=False)]
    title = settings["title"]
    if contrasts.empty:
        return _style.empty(title, "This study has no contrast of two arms against two.")
    summary = tables["summary"]
    summary = summary[(summary.scale == "raw") & (summary.part == "all")]
    names = list(dict.fromkeys(contrasts.contrast))
    words = {name: _pairs(contrasts[contrasts.contrast == name].iloc[0]) for name in names}
    across = {name: 2 if all(len(f"{a} to {b}") <= 24 for a, b in words[name]) else 1 for name in names}
    legends = {name: [_style.wrapped(f"{a} to {b}", 46) for a, b in words[name]] for name in names}
    heights = [
        1.95 if across[name] == 2 else 1.85 + 0.13 * sum(1 + text.count("\n") for text in legends[name])
        for name in names
    ]
    drawing = _style.figure(0.25 + sum(heights), title)
    parts = drawing.subfigures(len(names), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, name in zip(parts, names, strict=True):
        part.suptitle(_style.wrapped(name, 50), fontsize=8, x=0.01, ha="left")
        axes = part.subplots(1, 2)
        for ax, metric in zip(axes, _style.PRIMARY, strict=True):
            means = summary[summary.metric == metric].set_index("condition")
            row = contrasts[(contrasts.contrast == name) & (contrasts.metric == metric)]
            _panel(ax, words[name], means, row.iloc[0] if len(row) else None)
            ax.set_ylabel(_style.LABELS[metric])
        _legend(part, legends[name], across[name])
    return drawing


def _pairs(row) -> list[tuple[str, str]]:
    """(without, with) of both pairs of a contrast (plus 0 - minus 0) - (minus 1 - plus 1)."""
    plus, minus = row.plus.split(" + "), row.minus.split(" + ")
    return [(minus[0], plus[0]), (plus[1], minus[1])]


def _panel(ax, pairs, means, row) -> None:
    for pair, look, shift in zip(pairs, _PAIRS, (-0.07, 0.07), strict=True):
        points = 100 * means.loc[list(pair), ["mean", "lower", "upper"]].to_numpy()
        places = [shift, 1 + shift]
        for x, (_, lower, upper) in zip(places, points, strict=True):
            ax.plot([x, x], [lower, upper], color=look["color"], linewidth=0.8)
        ax.plot(places, points[:, 0], ms=4.5, mew=0.9, **look)
    if row is not None:
        _interaction(ax, 100 * means.loc[pairs[0][1], "mean"], 100 * row[["mean", "lower", "upper"]])
    ax.set_xticks([0, 1], ["without", "with"])
    ax.set_xlim(-0.3, 1.5)
    ax.margins(y=0.12)


def _interaction(ax, observed: float, of) -> None:
    """The end of the first pair if effects added up, and the interval of the distance to it."""
    look = {"color": _style.BLACK, "linewidth": 0.8}
    ax.plot([1.3, 1.3], [observed - of["upper"], observed - of["lower"]], **look)
    ax.plot(1.3, observed - of["mean"], "x", color=_style.BLACK, ms=5, mew=1.2)
    ends = "" if of.isna().any() else f"\n[{of['lower']:+.1f}, {of['upper']:+.1f}]"
    ax.set_title(f"interaction {of['mean']:+.1f}{ends}".replace("-", "−"), fontsize=7)


def _legend(part, texts, across: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ms=4.5, mew=0.9, label=text, **look) for text, look in zip(texts, _PAIRS, strict=True)
    ]
    look = {"marker": "x", "ms": 5, "mew": 1.2, "color": _style.BLACK, "linestyle": ""}
    handles.append(Line2D([], [], label="if effects added up", **look))
    _style.legend(part, handles, across)


FIGURE = Figure(draw, caption=CAPTION, tables=("statistics/contrasts", "statistics/summary"), order=20)
