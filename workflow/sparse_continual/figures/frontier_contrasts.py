"""Differences in forgetting at equal learning, at equal validation loss, and at the tuned learning rates.

Between the learning rates of the grid both sides are interpolated, block by block. A difference at the tuned rates that
vanishes at equal learning comes from learning, not from topology. Limit: few tuning blocks and a shorter stream; if the
two frontiers do not overlap there is no comparison.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Forgetting at equal learning")
CAPTION = (
    "Difference in forgetting of each contrast, plus side less minus side, in points, over the n tuning blocks on"
    " their validation splits, which enter no claim: read off both frontiers at equal learning accuracy, at equal"
    " validation loss, and at the learning rates that the rule chose. Lines are intervals over tuning blocks; n is"
    " the number of them in which the frontiers meet, if not all the same. Description: where the learning gate of"
    " a contrast failed, it cannot be read as forgetting less."
)
_AT = {
    "learning": ("o", _style.BLACK, "equal learning"),
    "validation_loss": ("s", "white", "equal validation loss"),
    "tuned": ("X", _style.PALE, "tuned rates"),
}


def draw(tables, settings):
    contrasts = tables["frontier_contrasts"]
    title = settings["title"]
    if not contrasts["mean"].notna().any():
        reason = "No contrast can be read off the frontiers: the tuning streams have one task, or no overlap."
        return _style.empty(title, reason)
    estimands = dict(zip(contrasts.contrast, contrasts.estimand, strict=True))
    below = [_below(contrasts[contrasts.contrast == name], of) for name, of in estimands.items()]
    names, heights = _style.labels(list(estimands), below, least=0.36)
    at = dict(zip(estimands, _style.places(heights), strict=True))
    drawing = _style.figure(0.95 + sum(heights), title)
    ax = drawing.subplots()
    ax.axvline(0, color=_style.GREY, linewidth=0.8)
    wide = []
    for row in contrasts.to_dict("records"):
        y = at[row["contrast"]] + 0.1 * (list(_AT).index(row["at"]) - 1)
        wide.append((y, 100 * row["lower"], 100 * row["upper"]))
        _style.interval(ax, *wide[-1], color=_style.BLACK, linewidth=0.9)
        marker, face, _ = _AT[row["at"]]
        ax.plot(100 * row["mean"], y, marker, mfc=face, mec=_style.BLACK, mew=0.9, ms=4.5)
    _style.fit(ax, 100 * contrasts["mean"], wide)
    _style.groups(ax, list(estimands), heights)
    ax.set_xlabel("difference in forgetting (points)")
    _style.name_rows(ax, names, heights)
    _legend(drawing)
    return drawing


def _below(rows, estimand: str) -> str:
    """The estimand if it is not the contrast's name, and n if it is not the same everywhere."""
    words = [] if estimand == rows.contrast.iloc[0] else [estimand.replace("_", " ")]
    if rows.n.nunique() > 1:
        words.append("n = " + "/".join(str(n) for n in rows.n.astype(int)))
    return ", ".join(words)


def _legend(drawing):
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=_style.BLACK, linewidth=0.9, marker=marker, mfc=face, mew=0.9, ms=4.5, label=words
        )
        for marker, face, words in _AT.values()
    ]
    _style.legend(drawing, handles, across=3)


FIGURE = Figure(draw, caption=CAPTION, tables=("statistics/frontier_contrasts",), section="gates", order=20)
