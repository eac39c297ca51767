"""Long streams: retained bits, learning and plasticity against the number of tasks trained.

The ratio of the slope over the last third of the stream to that over the first says whether a mechanism's
returns diminish: 1 is no change, 0 a standstill. Knob: `level` of the bands. Limit: bands are for each
number of tasks by itself, and a ratio of means is shown, not a mean of ratios.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Along a long stream")
CAPTION = (
    "Against the number of tasks trained, for each condition (rows): bits of all tasks so far that are still"
    " retained, score on the newest task right after its training, and plasticity, what that training added."
    " Lines are means over blocks, bands their intervals; the other conditions are drawn in grey. The numbers"
    " are the slope over the last third of the stream over that of the first third, of retained bits and of"
    " the running sums of learning and plasticity, with an interval that holds for all conditions together."
)
_QUANTITIES = {
    "retained_bits": ("retained bits", 1),
    "learning": ("learning (points)", 100),
    "plasticity": ("plasticity (points)", 100),
}


def draw(tables, settings):
    retention, slopes, title = tables["retention"], tables["slopes"], settings["title"]
    retention = retention.dropna(subset=list(_QUANTITIES), how="all")
    if retention.after.nunique() < 3:
        return _style.empty(title, "The stream is too short for a curve along it.")
    names = list(dict.fromkeys(retention.condition))
    by = retention.set_index(["after", "block"])
    curves = {
        (name, quantity): _style.curve(
            unit * by.loc[by.condition == name, quantity], settings["level"], tables["differences"]
        )
        for name in names
        for quantity, (_, unit) in _QUANTITIES.items()
    }
    drawing = _style.figure(0.8 + 1.05 * len(names), title)
    grid = drawing.subplots(len(names), 3, squeeze=False, sharex=True, sharey="col")
    for axes, name in zip(grid, names, strict=True):
        for ax, quantity in zip(axes, _QUANTITIES, strict=True):
            for other in names:
                ax.plot(*curves[other, quantity][:2], color=_style.PALE, linewidth=0.7, zorder=1)
            after, mean, lower, upper = curves[name, quantity]
            ax.fill_between(after, lower, upper, color=_style.GREY, alpha=0.35, linewidth=0, zorder=2)
            ax.plot(after, mean, "o-", color=_style.BLACK, ms=2.2, zorder=3)
            words = _ratio(slopes, name, quantity)
            if name == names[0]:
                words = f"{_QUANTITIES[quantity][0]}\n{words}"
            ax.set_title(words, fontsize=7, pad=2, loc="right")
        axes[0].set_ylabel(_style.wrapped(name, 12), fontsize=7)
    last = int(retention.after.max())
    grid[0][0].set_xticks([0, last // 2, last])
    drawing.supxlabel("tasks trained", fontsize=8)
    return drawing


def _ratio(slopes, condition: str, quantity: str) -> str:
    """The slopes' ratio and its simultaneous interval, in words for above a panel."""
    rows = slopes[(slopes.condition == condition) & (slopes.quantity == quantity)]
    rows = rows[["ratio", "simultaneous_lower", "simultaneous_upper"]].dropna(subset=["ratio"])
    if rows.empty:
        return ""
    ratio, lower, upper = rows.iloc[0]
    interval = "" if rows.isna().any(axis=None) else f"\n[{lower:.2f}, {upper:.2f}]"
    return f"{ratio:.2f}{interval}".replace("-", "−")


FIGURE = Figure(
    draw,
    caption=CAPTION,
    tables=("statistics/retention", "statistics/slopes", "statistics/differences"),
    section="curves",
    order=10,
)
