"""Scores of every condition before the stream."""

from sparse_continual.figures import _style
from sparse_continual.figures.figure import Figure

SCHEMA = _style.schema("Before the stream")


def draw(tables, settings):
    made = _style.figure(2, settings["title"])
    before = tables["scores"][tables["scores"].after == 0].groupby("condition").score.mean()
    made.subplots().bar(before.index, before)
    return made


FIGURE = Figure(
    draw, caption="Mean score before the stream.", tables=("tables/scores",), section="curves", order=5
)
