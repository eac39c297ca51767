"""Differences against load: bits to be stored per nonzero weight.

With few facts per nonzero weight nothing competes for room, so the sign of an effect may depend on the load. Limit:
streams of other loads also differ in their number of facts, and so in steps.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Differences against load")
CAPTION = (
    "Difference of each contrast, plus side less minus side, in points with its interval over blocks, on"
    " streams of different load: bits that the stream asks to be stored, per nonzero weight of the plus"
    " side. Filled circles are forgetting, open squares forward transfer. The same for every stream."
)
_LOOKS = {
    "forgetting": {"marker": "o", "color": _style.BLACK, "mfc": _style.BLACK, "linestyle": "-"},
    "forward_transfer": {"marker": "s", "color": _style.GREY, "mfc": "white", "linestyle": "--"},
}


def draw(tables, settings):
    loads, title = tables["loads"], settings["title"]
    loads = loads[(loads.estimand != "level") & loads["mean"].notna() & (loads.bits_per_nonzero > 0)]
    loads = _style.primary(loads)
    if loads.groupby("contrast").bits_per_nonzero.nunique().max() < 2 or loads.empty:
        return _style.empty(title, "The streams of this study have one load: there is no response to show.")
    names = list(dict.fromkeys(loads.contrast))
    drawing, axes = _style.panels(names, title, 1.0, "bits / nonzero", "difference (points)", legend=1)
    for name, ax in axes.items():
        ax.axhline(0, color=_style.GREY, linewidth=0.8)
        for number, (metric, look) in enumerate(_LOOKS.items()):
            rows = loads[(loads.contrast == name) & (loads.metric == metric)]
            _line(ax, rows.sort_values("bits_per_nonzero"), look, 1.06 ** (2 * number - 1))
        ax.set_xscale("log")
    _ticks(next(iter(axes.values())), sorted(set(loads.bits_per_nonzero)))
    _legend(drawing)
    return drawing


def _line(ax, rows, look, shift) -> None:
    x = rows.bits_per_nonzero * shift
    ax.vlines(x, 100 * rows.lower, 100 * rows.upper, color=look["color"], linewidth=0.8)
    ax.plot(x, 100 * rows["mean"], ms=4, mew=0.9, **{**look, "linewidth": 0.9})


def _ticks(ax, loads) -> None:
    """Ticks at the loads themselves if they are far enough apart, for all panels."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    kept = [loads[0]]
    for load in loads[1:]:
        if load / kept[-1] >= (loads[-1] / loads[0]) ** 0.3:
            kept.append(load)
    ax.set_xlim(loads[0] / (loads[-1] / loads[0]) ** 0.15, loads[-1] * (loads[-1] / loads[0]) ** 0.15)
    ax.xaxis.set_major_locator(FixedLocator(kept))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda load, _: f"{load:.2g}"))


def _legend(drawing) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ms=4, mew=0.9, label=metric.replace("_", " "), **{**look, "linewidth": 0.9})
        for metric, look in _LOOKS.items()
    ]
    _style.legend(drawing, handles, across=2)


FIGURE = Figure(draw, caption=CAPTION, study_tables=("loads",), order=30)
