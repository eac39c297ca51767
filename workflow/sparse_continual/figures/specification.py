"""Specification curve: one contrast under every secondary choice of metric, scale, items and estimator.

Exploratory: the choices were not all equally defensible in advance and share their data, so the share of them whose
interval excludes zero is not a test. Knob: `contrast`. Source: Simonsohn, Simmons and Nelson, "Specification curve
analysis", Nature Human Behaviour 4 (2020).
"""

from sparse_continual.errors import UserError
from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure
from sparse_continual.registry import nearest

SCHEMA = _style.schema(
    "Specification curve (exploratory)",
    contrast={
        "type": "string",
        "description": "name of the contrast; empty for the first between arms",
        "default": "",
    },
)
CAPTION = (
    "Exploratory. One contrast under every choice of metric, scale, items and estimator, in the order of the"
    " estimates; below each, the choices that it is made of. Filled marks have an interval that leaves zero"
    " out, crosses have no interval; the ringed one is the primary analysis. Shares are in points (a fraction"
    " lost in percent), losses in bits per answer token on an axis of their own. The estimates share their"
    " data: how many are filled is no test."
)
_CHOICES = ("metric", "scale", "part", "estimator")


def draw(tables, settings):
    specifications, title = tables["specification"], settings["title"]
    specifications = specifications[(specifications.estimand != "level") & specifications["mean"].notna()]
    if specifications.empty:
        return _style.empty(title, "No contrast between arms has more than one specification.")
    known = list(dict.fromkeys(specifications.contrast))
    name = settings["contrast"] or known[0]
    if name not in known:
        raise UserError(
            f"figures.specification.contrast: found {name!r}, expected one of {', '.join(known)}"
            f"{nearest(name, known)}"
        )
    specifications = specifications[specifications.contrast == name]
    choices = [
        (of, value)
        for of in _CHOICES
        if specifications[of].nunique() > 1
        for value in dict.fromkeys(specifications[of])
    ]
    specifications = specifications.sort_values("mean", kind="stable")
    parts = [
        rows
        for rows in (
            specifications[specifications.scale != "bits"],
            specifications[specifications.scale == "bits"],
        )
        if len(rows)
    ]
    names, _ = _style.labels([value.replace("_", " ") for _, value in choices], width=24)
    heights = [0.13 * (name.count("\n") + 1) for name, _ in names]
    drawing = _style.figure(2.15 + sum(heights), title)
    widths = [max(len(rows), 0.3 * len(specifications)) for rows in parts]
    grid = drawing.subplots(
        2,
        len(parts),
        squeeze=False,
        sharex="col",
        width_ratios=widths,
        height_ratios=[1.3, sum(heights) + 0.1],
    )
    for (top, below), rows in zip(grid.T, parts, strict=True):
        _curve(top, rows)
        _dashboard(below, rows, choices, heights)
    _style.name_rows(grid[1][0], names, heights)
    grid[0][0].set_title(_style.wrapped(f"{name}, exploratory", 34), loc="left", fontsize=8)
    return drawing


def _curve(ax, rows) -> None:
    unit, words = (1, "bits per token") if rows.scale.iloc[0] == "bits" else (100, "points")
    x = range(len(rows))
    ax.set_ylabel(words)
    ax.axhline(0, color=_style.GREY, linewidth=0.8)
    ax.vlines(x, unit * rows.lower, unit * rows.upper, color=_style.GREY, linewidth=0.7)
    clear, none = ((rows.lower > 0) | (rows.upper < 0)).to_numpy(), rows.lower.isna().to_numpy()
    for chosen, marker, face in (
        (none, "x", "none"),
        (~clear & ~none, "o", "white"),
        (clear, "o", _style.BLACK),
    ):
        places = [k for k in x if chosen[k]]
        look = {"mfc": face, "mec": _style.BLACK, "mew": 0.6, "ms": 2.6}
        ax.plot(places, unit * rows["mean"].to_numpy()[places], marker, **look)
    for k, chosen in enumerate(_style.true(rows.primary)):
        if chosen:
            ax.plot(k, unit * rows["mean"].iloc[k], "o", mfc="none", mec=_style.RED, mew=1.3, ms=8)
    wide = list(zip(x, unit * rows.lower, unit * rows.upper, strict=True))
    _style.fit(ax, unit * rows["mean"], wide, upright=True)
    ax.set_xlim(-1.5, len(rows) + 0.5)
    ax.set_xticks([])


def _dashboard(ax, rows, choices, heights) -> None:
    for y, (of, value) in zip(_style.places(heights), choices, strict=True):
        places = [k for k, made_of in enumerate(rows[of]) if made_of == value]
        ax.plot(places, [y] * len(places), "|", color=_style.BLACK, ms=5, mew=0.9)
    _style.groups(ax, [of for of, _ in choices], heights)
    ax.set_ylim(sum(heights), 0)
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel(f"{len(rows)} ways")


FIGURE = Figure(draw, caption=CAPTION, tables=("statistics/specification",), order=40)
