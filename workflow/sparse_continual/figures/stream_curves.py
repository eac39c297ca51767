"""Scores along the stream, one panel per condition: each task, the average over seen tasks, the base.

Lines are means over blocks by position, bands t intervals over blocks. Knobs: `part`, `level`. Limits: means of curves
hide blocks that collapse, which the report lists; a band holds for each number of tasks by itself; intervals of two
conditions say nothing about their difference, which is paired by block.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Scores along the stream", part=_style.PART)
CAPTION = (
    "Share right along the stream, mean over blocks: thin lines are tasks by position, dark the first and"
    " light the last, dotted until they are trained. The thick line is the average over the tasks seen so"
    " far, the dashed one the score on the base's own pretraining mixture, both with their intervals over"
    " blocks."
)


def draw(tables, settings):
    import matplotlib

    scores = tables["scores"]
    if scores.empty:
        return _style.empty(settings["title"], "No condition of this study was scored.")
    stream = _style.of_part(scores, settings["part"], "stream_curves")
    names = list(dict.fromkeys(stream.condition))
    drawing, axes = _style.panels(names, settings["title"], 1.0, "tasks trained", "share right", legend=2)
    how = settings["level"], tables["differences"]
    shades = matplotlib.colormaps["viridis"]
    for name, ax in axes.items():
        rows = stream[stream.condition == name]
        cells = rows.pivot_table(index="after", columns="position", values="score")
        T = len(cells.columns)
        for position in cells.columns:
            shade = shades(0.9 * (position - 1) / max(1, T - 1))
            curve = cells[position]
            ax.plot(curve.index[position:], curve.iloc[position:], color=shade, linewidth=0.7)
            ax.plot(curve.index[: position + 1], curve.iloc[: position + 1], ":", color=shade, linewidth=0.5)
        trained_tasks = rows[rows.position <= rows.after].groupby(["after", "block"]).score.mean()
        _band(ax, _style.curve(trained_tasks, *how), color=_style.BLACK, linewidth=1.8)
        base = scores[(scores.condition == name) & (scores.position == 0) & (scores.part == "all")]
        base = base.groupby(["after", "block"]).score.mean()
        _band(ax, _style.curve(base, *how), color=_style.ORANGE, linewidth=1.4, linestyle="--")
        ax.set_ylim(-0.02, 1.02)
        ax.set_xticks(range(0, T + 1, max(1, T // 3)))
    _legend(drawing, shades)
    return drawing


def _band(ax, curve, **look) -> None:
    after, mean, lower, upper = curve
    ax.fill_between(after, lower, upper, color=look["color"], alpha=0.25, linewidth=0)
    ax.plot(after, mean, **look)


def _legend(drawing, shades):
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=_style.BLACK, linewidth=1.8, label="mean of seen"),
        Line2D([], [], color=_style.ORANGE, linestyle="--", linewidth=1.4, label="base mixture"),
        Line2D([], [], color=shades(0.0), linewidth=0.9, label="first task"),
        Line2D([], [], color=shades(0.9), linewidth=0.9, label="last task"),
        Line2D([], [], color=_style.GREY, linestyle=":", linewidth=0.8, label="not yet trained"),
    ]
    _style.legend(drawing, lines, across=3)


FIGURE = Figure(
    draw, caption=CAPTION, tables=("tables/scores", "statistics/differences"), section="curves", order=30
)
