"""Forest plot: the paired difference of every contrast, for both primary metrics.

Each contrast is an estimand of its own and is never pooled with another; families, within which tests
are adjusted, stand apart. Limit: a filled mark is the verdict of the whole rule (adjusted test, exact
test, learning gate), so an interval that leaves zero out may still carry an open one.
"""

from sparse_continual.figures import _style

SCHEMA = _style.schema("Paired differences, per estimand")
TABLES = ("statistics/contrasts", "statistics/differences")
PLACE = 1  # in the report
CAPTION = (
    "Difference of each contrast, plus side less minus side, in points. Small dots are blocks, the thick"
    " line is the interval, the thin line the one widened for all tests of the family. A filled mark means"
    " shown; an open one not distinguished, or descriptive; a cross that the learning gate failed, so that"
    " nothing is said. Left of zero is less forgetting, right of zero more forward transfer."
)
_MARKS = {
    "shown": ("o", _style.BLUE, _style.BLUE),
    "not distinguished": ("o", "white", _style.BLACK),
    "descriptive": ("D", "white", _style.BLACK),
    "gate failed": ("X", _style.ORANGE, _style.BLACK),
}


def draw(tables, settings):
    contrasts = tables["contrasts"]
    contrasts = contrasts[contrasts.role == "primary"]
    title = settings["title"]
    if contrasts.empty:
        return _style.empty(title, "This study has no contrasts.")
    rows, headers, places = {}, {}, 0
    for family, group in contrasts.groupby("family", sort=False):
        headers[family] = places
        for place, name in enumerate(dict.fromkeys(group.contrast), start=places + 1):
            rows[name] = place
        places += 1 + group.contrast.nunique()
    made = _style.figure(_style.DOUBLE, 1.0 + 0.27 * places, title)
    axes = made.subplots(1, 2, sharey=True)
    for ax, metric in zip(axes, ("forgetting", "forward_transfer"), strict=True):
        ax.axvline(0, color=_style.GREY, linewidth=0.8)
        for row in contrasts[contrasts.metric == metric].to_dict("records"):
            blocks = tables["differences"]
            blocks = blocks[
                (blocks.contrast == row["contrast"]) & (blocks.metric == metric) & (blocks.scale == "raw")
            ].difference
            _row(ax, rows[row["contrast"]], row, blocks)
        for place in list(headers.values())[1:]:
            ax.axhline(place - 0.5, color=_style.PALE, linewidth=0.6)
        ax.set_xlabel("difference in " + _style.LABELS[metric])
    axes[0].set_yticks(list(rows.values()), [_label(contrasts, name) for name in rows])
    axes[0].set_yticks(list(headers.values()), minor=True, labels=[f"family: {f}" for f in headers])
    axes[0].tick_params(axis="y", which="minor", labelsize=7, labelcolor=_style.GREY)
    for ax in axes:
        ax.tick_params(axis="y", which="both", length=0)
    axes[0].set_ylim(places - 0.4, -0.6)
    _legend(made, [v for v in _MARKS if v in set(contrasts.verdict)])
    return made


def _row(ax, y, row, blocks):
    _style.interval(
        ax,
        y,
        100 * row["simultaneous_lower"],
        100 * row["simultaneous_upper"],
        color=_style.GREY,
        linewidth=0.7,
    )
    _style.interval(ax, y, 100 * row["lower"], 100 * row["upper"], color=_style.BLACK, linewidth=2)
    offsets = [y + 0.25 + dy for dy in _style.spread(len(blocks), 0.2)]
    ax.plot(100 * blocks, offsets, "o", color=_style.SKY, ms=2.5, mew=0)
    marker, face, edge = _MARKS[row["verdict"]]
    ax.plot(100 * row["mean"], y, marker, mfc=face, mec=edge, mew=0.9, ms=5.5)


def _label(contrasts, name):
    """The contrast's name, and below it what it compares."""
    row = contrasts[contrasts.contrast == name].iloc[0]
    plus, minus = row.plus.split(" + "), row.minus.split(" + ")
    if len(plus) == 1:
        return f"{name}\n{plus[0]} − {minus[0]}"
    return f"{name}\n({plus[0]} − {minus[0]}) − ({minus[1]} − {plus[1]})"


def _legend(made, verdicts):
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=m, mfc=face, mec=edge, mew=0.9, ms=5.5, label=verdict)
        for verdict, (m, face, edge) in _MARKS.items()
        if verdict in verdicts
    ]
    handles += [
        Line2D([], [], linestyle="", marker="o", color=_style.SKY, ms=2.5, label="one block"),
        Line2D([], [], color=_style.BLACK, linewidth=2, label="interval"),
        Line2D([], [], color=_style.GREY, linewidth=0.7, label="for the whole family"),
    ]
    made.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4, columnspacing=1.2
    )
