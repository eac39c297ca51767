"""Forest plot of the study's claims: estimate, intervals and verdict of each.

One row per claim, in the order of the study's list. The word at the right is the verdict of the whole rule (adjusted
test, exact test, learning gate, equivalence), so an interval that excludes zero may still have the verdict "not
distinguished". Limit: claims that combine others have no estimate of their own.
"""

import math

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Claims and their verdicts")
CAPTION = (
    "Every claim of the study: mean difference of its contrast, plus side less minus side, in points. The"
    " thick line is the interval, the thin line the one widened for all separate claims, the pale band the"
    " margin within which the claim would call two arms equivalent; an arrow head says that a line goes on."
    " The word is the verdict by the claim's own rule, below it the number of blocks (or bases) behind it."
    " A cross says that the learning gate failed: its number is description and cannot be read as forgetting less."
    " For forgetting, left of zero is less."
)
# verdict -> marker, face, edge
MARKS = {
    "shown": ("o", _style.BLACK, _style.BLACK),
    "contradicted": ("s", _style.BLACK, _style.BLACK),
    "equivalent": ("D", _style.PALE, _style.BLACK),
    "not distinguished": ("o", "white", _style.BLACK),
    "descriptive": ("D", "white", _style.BLACK),
    "gate failed": ("X", "white", _style.BLACK),
    "exploratory": ("^", "white", _style.BLACK),
}


def draw(tables, settings):
    claims = _style.of_stream(tables["claims"], settings)
    title = settings["title"]
    if claims.empty:
        return _style.empty(title, "This study makes no claims on this stream.")
    # a level, the whole forgetting of an arm, is far larger than a difference, so it has its own axis
    level = claims.estimand == "level"
    groups = [
        (claims[chosen].to_dict("records"), words)
        for chosen, words in ((~level, "difference (points)"), (level, "level of one arm (points)"))
        if chosen.any()
    ]
    written = [_words(rows) for rows, _ in groups]
    tall = [sum(heights) + 0.45 for *_, heights in written]
    phases = [phase for phase in dict.fromkeys(claims.phase) if phase not in ("", "confirmatory")]
    drawing = _style.figure(0.3 + sum(tall) + 0.13 * bool(phases), title)
    axes = drawing.subplots(len(groups), 1, squeeze=False, height_ratios=tall)[:, 0]
    for ax, (rows, words), (names, verdicts, heights) in zip(axes, groups, written, strict=True):
        _panel(ax, rows, heights)
        _style.name_rows(ax, names, heights)
        _style.name_rows(ax, verdicts, heights, right=True)
        ax.set_xlabel(words)
    if phases:
        axes[-1].set_xlabel(f"{groups[-1][1]}\n{' and '.join(phases)}, not confirmatory")
    return drawing


def _words(rows: list[dict]) -> tuple[list, list, list]:
    """The words left and right of the rows, and the rows' heights."""
    names, left = _style.labels([row["claim"] for row in rows], [_about(row) for row in rows])
    counts = [f"{row['n']:.0f} {row['unit']}{'s' * (row['n'] > 1)}" if row["n"] > 0 else "" for row in rows]
    verdicts, right = _style.labels([row["verdict"] for row in rows], counts, width=16)
    return names, verdicts, [max(both) for both in zip(left, right, strict=True)]


def _panel(ax, rows: list[dict], heights: list[float]) -> None:
    at = _style.places(heights)
    ax.axvline(0, color=_style.GREY, linewidth=0.8)
    for y, row in zip(at, rows, strict=True):
        _row(ax, y, row)
    wide = [
        (y, 100 * row[f"{kind}lower"], 100 * row[f"{kind}upper"])
        for y, row in zip(at, rows, strict=True)
        for kind in ("", "simultaneous_")
    ]
    margins = [sign * 100 * row["claim_margin"] for row in rows for sign in (-1, 1)]
    _style.fit(ax, [100 * row["mean"] for row in rows] + margins, wide)
    ax.spines["left"].set_visible(False)


def _row(ax, y, row):
    margin = 100 * row["claim_margin"]
    if margin > 0 and not math.isnan(row["mean"]):
        ax.fill_between([-margin, margin], y - 0.13, y + 0.13, color=_style.PALE, alpha=0.5, linewidth=0)
    ends = 100 * row["simultaneous_lower"], 100 * row["simultaneous_upper"]
    _style.interval(ax, y, *ends, color=_style.BLACK, linewidth=0.7)
    _style.interval(ax, y, 100 * row["lower"], 100 * row["upper"], color=_style.BLACK, linewidth=2.2)
    if row["verdict"] in MARKS:
        marker, face, edge = MARKS[row["verdict"]]
        ax.plot(100 * row["mean"], y, marker, mfc=face, mec=edge, mew=0.9, ms=6.5, zorder=3)


def _about(row: dict) -> str:
    """The subject of the claim: its contrast and metric, or how it combines others."""
    if row["rule"] == "all_of":
        return "all of its parts"
    words = ", ".join(word for word in (row["contrast"], row["metric"].replace("_", " ")) if word)
    return f"part: {words}" if row["role"] == "component" else words


FIGURE = Figure(draw, caption=CAPTION, study_tables=("claims",), section="claims", order=10)
