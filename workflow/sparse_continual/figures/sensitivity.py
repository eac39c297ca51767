"""Every contrast with one block, one position or one task left out.

Limit: leaving out shows how much depends on a single one; it is not a test, and n is one smaller each time.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Contrasts with one block, position or task left out")
CAPTION = (
    "Each contrast on all data (large circle, thick line its interval), and with each block, each position"
    " of the stream and each task left out in turn: one mark per estimate, the thin line from the lowest to"
    " the highest end of their intervals. A filled mark has an interval that leaves zero out, an open one"
    " does not: a row of both hangs on what was left out."
)
_ROWS = {
    "none": ("o", "all data"),
    "block": ("o", "a block"),
    "position": ("s", "a position"),
    "task": ("^", "a task"),
}


def draw(tables, settings):
    estimates = tables["sensitivity"]
    estimates = _style.primary(estimates[estimates.estimand != "level"])
    title = settings["title"]
    if not estimates["mean"].notna().any():
        return _style.empty(title, "Nothing could be left out: too few blocks, or no contrasts between arms.")
    estimands = dict(zip(estimates.contrast, estimates.estimand, strict=True))
    below = ["" if of == name else of.replace("_", " ") for name, of in estimands.items()]
    names, heights = _style.labels(list(estimands), below, least=0.48)
    drawing = _style.figure(1.1 + sum(heights), title)
    axes = drawing.subplots(1, 2, sharey=True)
    for ax, metric in zip(axes, _style.PRIMARY, strict=True):
        rows = estimates[estimates.metric == metric]
        ax.axvline(0, color=_style.GREY, linewidth=0.8)
        wide = []
        for y, name in zip(_style.places(heights), estimands, strict=True):
            for number, left_out in enumerate(_ROWS):
                contrast_rows = rows[(rows.contrast == name) & (rows.left_out == left_out)]
                if len(contrast_rows):
                    wide.append(_row(ax, y - 0.165 + 0.11 * number, left_out, contrast_rows))
        _style.fit(ax, 100 * rows["mean"], wide)
        _style.groups(ax, list(estimands), heights)
        ax.set_xlabel(_style.LABELS[metric])
        ax.spines["left"].set_visible(False)
    _style.name_rows(axes[0], names, heights)
    _legend(drawing)
    return drawing


def _row(ax, y, left_out, whole) -> tuple[float, float, float]:
    """One row of marks; returns (y, lower, upper) of its line."""
    lower, upper = 100 * whole.lower.min(), 100 * whole.upper.max()
    full = left_out == "none"
    _style.interval(
        ax, y, lower, upper, color=_style.BLACK if full else _style.GREY, linewidth=2 if full else 0.7
    )
    clear = (whole.lower > 0) | (whole.upper < 0)
    for rows, face in ((whole[~clear], "white"), (whole[clear], _style.BLACK)):
        look = {"mfc": face, "mec": _style.BLACK, "mew": 0.6, "ms": 5 if full else 3}
        ax.plot(100 * rows["mean"], [y] * len(rows), _ROWS[left_out][0], **look)
    return y, lower, upper


def _legend(drawing):
    from matplotlib.lines import Line2D

    handles = []
    for left_out, (marker, words) in _ROWS.items():
        full = left_out == "none"
        look = {"color": _style.BLACK if full else _style.GREY, "linewidth": 2 if full else 0.7}
        look |= {
            "mfc": _style.BLACK if full else "white",
            "mec": _style.BLACK,
            "mew": 0.6,
            "ms": 5 if full else 3,
        }
        handles.append(Line2D([], [], marker=marker, label=words if full else f"without {words}", **look))
    _style.legend(drawing, handles, across=2)


FIGURE = Figure(draw, caption=CAPTION, tables=("statistics/sensitivity",), section="sensitivity", order=10)
