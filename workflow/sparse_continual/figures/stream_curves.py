"""Scores along the stream, one panel per condition: each task, the average over seen tasks, the base.

Lines are means over blocks by position. Knob: `part`. Limit: means of curves hide blocks that collapse;
the report lists those.
"""

from sparse_continual.figures import _style

SCHEMA = _style.schema("Scores along the stream", part=_style.PART)
TABLES = ("tables/scores",)
PLACE = 5  # in the report
CAPTION = (
    "Share right on each task along the stream, mean over blocks: thin lines are tasks by position, dark"
    " the first and light the last, dotted until they are trained. Black is the average over the tasks seen"
    " so far, dashed orange the score on the base's own pretraining mixture."
)


def draw(tables, settings):
    import matplotlib

    scores = tables["scores"]
    stream = _style.of_part(scores, settings["part"], "stream_curves")
    names = list(dict.fromkeys(stream.condition))
    made, axes = _style.panels(names, settings["title"], height=1.45)
    shades = matplotlib.colormaps["viridis"]
    for name, ax in axes.items():
        cells = stream[stream.condition == name].pivot_table(
            index="after", columns="position", values="score"
        )
        T = len(cells.columns)
        for position in cells.columns:
            shade = shades(0.9 * (position - 1) / max(1, T - 1))
            curve = cells[position]
            ax.plot(curve.index[position:], curve.iloc[position:], color=shade, linewidth=0.9)
            ax.plot(curve.index[: position + 1], curve.iloc[: position + 1], ":", color=shade, linewidth=0.6)
        seen = [cells.loc[after].iloc[: int(after)].mean() for after in cells.index[1:]]
        ax.plot(cells.index[1:], seen, color=_style.BLACK, linewidth=1.8)
        base = scores[(scores.condition == name) & (scores.position == 0) & (scores.part == "all")]
        base = base.groupby("after").score.mean()
        ax.plot(base.index, base, "--", color=_style.ORANGE, linewidth=1.4)
        ax.set_ylim(-0.02, 1.02)
        ax.set_xticks(range(0, T + 1, max(1, T // 3)))
    _legend(made, shades)
    for ax in list(axes.values())[-5:]:
        ax.set_xlabel("tasks trained")
    made.supylabel("share right", fontsize=8)
    return made


def _legend(made, shades):
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=shades(0.0), linewidth=0.9, label="first task"),
        Line2D([], [], color=shades(0.9), linewidth=0.9, label="last task"),
        Line2D([], [], color=_style.GREY, linestyle=":", linewidth=0.8, label="not yet trained"),
        Line2D([], [], color=_style.BLACK, linewidth=1.8, label="mean of seen"),
        Line2D([], [], color=_style.ORANGE, linestyle="--", linewidth=1.4, label="base mixture"),
    ]
    made.legend(handles=lines, loc="outside lower center", ncols=len(lines) if made.get_figwidth() > 5 else 3)
