"""R of every condition as an image: score on every task (column) after every task (row), mean over blocks.

All panels share one colour scale from 0 to 1. Row 0, before the stream, stands apart. Columns are
positions in the block's own order, so the means run over different tasks. Knob: `part`, to look at one
kind of items. Limit: no spread is shown; the figures of the metrics show it.
"""

import math

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Accuracy on every task after every task", part=_style.PART)
CAPTION = (
    "Share right on the task in each position of the stream (columns) after training each task (rows), mean"
    " over blocks. Row 0 is before the stream; outlined cells are tasks right after their own training;"
    " below them is what is kept, above them what was known in advance. One colour scale for all"
    " conditions."
)


def draw(tables, settings):
    if tables["scores"].empty:
        return _style.empty(settings["title"], "No condition of this study was scored.")
    scores = _style.of_part(tables["scores"], settings["part"], "accuracy_matrices")
    names = list(dict.fromkeys(scores.condition))
    drawing, axes = _style.panels(names, settings["title"], 1.0, "position of task", "tasks trained")
    for name, ax in axes.items():
        cells = scores[scores.condition == name].pivot_table(
            index="after", columns="position", values="score"
        )
        image = _image(ax, cells.to_numpy())
    drawing.colorbar(image, ax=list(axes.values()), label="share right", fraction=0.03, aspect=30, pad=0.01)
    return drawing


def _image(ax, R):
    """Draw R with row 0 set apart by a white line, and the diagonal outlined."""
    from matplotlib.patches import Rectangle

    T = R.shape[1]
    image = ax.imshow(R, cmap=_style.SCORES, vmin=0, vmax=1, aspect="auto", interpolation="none")
    ax.axhline(0.5, color="white", linewidth=2.5)
    edge = {"fill": False, "edgecolor": "white", "linewidth": 0.8 if T <= 8 else 0.4}
    for j in range(T):
        ax.add_patch(Rectangle((j - 0.5, j + 0.5), 1, 1, **edge))
    step = 1 if T <= 8 else math.ceil(T / 5)
    ax.set_xticks(range(0, T, step), [str(j + 1) for j in range(0, T, step)])
    ax.set_yticks(range(0, T + 1, step), [str(i) for i in range(0, T + 1, step)])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


FIGURE = Figure(draw, caption=CAPTION, tables=("tables/scores",), section="curves", order=20)
