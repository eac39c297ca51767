"""Density by layer and matrix of every sparse topology, mean over blocks.

Density is the number of existing weights over the number of places. Limit: under an N:M pattern it is the same
everywhere by construction, and the figure is only a check.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Density by layer and matrix")
CAPTION = (
    "Share of the weights that exist, by decoder layer (rows) and matrix (columns), mean over blocks, for"
    " every topology of the study that has absent weights."
)


def draw(tables, settings):
    title = settings["title"]
    densities = tables["densities"]
    # a topology may leave whole matrices dense
    densities = densities[densities.topology.isin(densities.topology[densities.pattern != "dense"])]
    if densities.empty:
        return _style.empty(title, "No topology of this study has absent weights.")
    names = list(dict.fromkeys(densities.topology))
    layers = densities.layer.nunique()
    drawing, axes = _style.panels(names, title, min(4.5, 0.9 + 0.17 * layers), "", "layer")
    for name, ax in axes.items():
        rows = densities[densities.topology == name]
        modules = list(dict.fromkeys(rows.module))
        cells = rows.pivot_table(index="layer", columns="module", values="density")[modules]
        image = ax.imshow(cells, cmap=_style.SCORES, vmin=0, vmax=1, aspect="auto", interpolation="none")
        if len(names) == 1 and layers <= 12:
            _numbers(ax, cells.to_numpy())
        ax.set_xticks(range(len(modules)), modules, rotation=90)
        step = max(1, layers // 8)
        ax.set_yticks(range(0, layers, step), [str(int(layer)) for layer in cells.index[::step]])
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    drawing.colorbar(image, ax=list(axes.values()), label="density", aspect=20, pad=0.02)
    return drawing


def _numbers(ax, cells):
    for row, line in enumerate(cells):
        for column, value in enumerate(line):
            colour = "white" if value < 0.6 else "black"
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=7)


FIGURE = Figure(draw, caption=CAPTION, tables=("tables/densities",), section="topology", order=10)
