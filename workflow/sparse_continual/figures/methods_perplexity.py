"""Perplexity of every topology before pruning, after it and after recovery, beside the errors of its matrices.

Topologies at init have no dots before their pretraining: the model knew nothing yet. Limit: a method that trains while
it prunes has read more text than the others when it arrives at "pruned", and what it learnt counts as error of its
matrices; another figure shows the costs of methods.
"""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Perplexity before and after pruning and recovery")
STAGES = {  # stage: (marker, size, face, edge)
    "base": ("|", 7, _style.GREY, _style.GREY),
    "pruned": ("o", 4, "white", _style.RED),
    "trained": ("D", 3.5, "white", _style.BLUE),
    "recovered": ("o", 4, _style.BLUE, _style.BLUE),
}
NAMES = {
    "base": "before pruning",
    "pruned": "pruned",
    "trained": "pretrained under the mask",
    "recovered": "after recovery",
}
CAPTION = (
    "Left: perplexity of held-out text of the base's own kind, geometric mean over blocks, on a logarithmic scale."
    " Right: error of the outputs of every matrix, |WX - VX| / |WX| with the inputs X that the dense model gives it"
    " on calibration text: pale dots are matrices, mean over blocks, the stroke is their median. What is pruned at"
    " init is shown from its pretraining on."
)


def draw(tables, settings):
    perplexities, errors = tables["perplexities"], tables["layer_errors"]
    names = list(dict.fromkeys(perplexities.topology))
    if not names:
        return _style.empty(settings["title"], "No topology of this study was measured.")
    at_init = set(perplexities[perplexities.stage == "trained"].topology)
    later = perplexities.stage.isin(("trained", "recovered"))
    perplexities = perplexities[later | ~perplexities.topology.isin(at_init)]
    errors = errors[~errors.topology.isin(at_init)]
    rows, heights = _style.labels(names, least=0.2)
    at = dict(zip(names, _style.places(heights), strict=True))
    drawing = _style.figure(1.0 + sum(heights), settings["title"])
    left, right = drawing.subplots(1, 2, sharey=True)
    shown = [stage for stage in STAGES if stage in set(perplexities.stage)]
    for ax in (left, right):
        for y in at.values():
            ax.axhline(y, color=_style.PALE, linewidth=0.4, zorder=0)
    for stage in shown:
        stage_means = (
            perplexities[perplexities.stage == stage]
            .groupby("topology", sort=False)
            .perplexity.apply(_geometric)
        )
        _mark(left, stage, stage_means, [at[name] for name in stage_means.index])
    for name, of in errors.groupby("topology", sort=False):
        means = of.groupby("matrix").error.mean()
        positive = means[means > 0]  # a matrix without error has no place on a logarithmic scale
        right.plot(positive, [at[name]] * len(positive), "o", color=_style.SKY, ms=2.5, mew=0, alpha=0.6)
        right.plot(means.median(), at[name], "|", color=_style.BLACK, ms=8, mew=1.4)
    for ax, label in ((left, "perplexity"), (right, "error of a matrix")):
        _style.logarithmic(ax)
        ax.set_xlabel(label)
    _style.name_rows(left, rows, heights)
    _legend(drawing, shown)
    return drawing


def _geometric(values):
    import numpy as np

    return float(np.exp(np.log(values).mean()))


def _mark(ax, stage, x, y):
    marker, size, face, edge = STAGES[stage]
    ax.plot(x, y, marker, ms=size, mfc=face, mec=edge, mew=1.0, linestyle="")


def _legend(drawing, shown):
    from matplotlib.lines import Line2D

    handles = []
    for stage in shown:
        marker, size, face, edge = STAGES[stage]
        look = {"marker": marker, "ms": size, "mfc": face, "mec": edge}
        handles.append(Line2D([], [], linestyle="", label=NAMES[stage], **look))
    _style.legend(drawing, handles, across=2)


FIGURE = Figure(
    draw,
    caption=CAPTION,
    tables=("tables/perplexities", "tables/layer_errors"),
    section="topology",
    order=20,
)
