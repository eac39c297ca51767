"""Every figure drawn from made-up tables: what is in it, and that its bytes repeat."""

from pathlib import Path

import jsonschema
import pytest
import synthetic_tables
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.figures import _draw, _style
from sparse_continual.statistics import tables
from sparse_continual.statistics.estimate import estimate
from sparse_continual.streams.settings import filled

FORMS = ("svg", "pdf", "png")


def make(folder, conditions, contrasts, blocks, T):
    synthetic_tables.write(folder / "tables", conditions, blocks, T)
    estimate(folder / "tables", folder / "statistics", contrasts, 0.05, 0.05, False)
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Ten conditions on six blocks of six tasks."""
    folder = tmp_path_factory.mktemp("full")
    return make(folder, synthetic_tables.CONDITIONS, synthetic_tables.CONTRASTS, 6, 6)


def drawn(name, folder, settings=None):
    variant = registry.load("figures", name)
    found = {Path(table).name: tables.read(folder / f"{table}.csv") for table in variant.TABLES}
    with _style.style():
        made = variant.draw(found, filled(variant.SCHEMA, settings or {}))
        FigureCanvasAgg(made).draw()
    return made


def images(made):
    return [ax.images[0] for ax in made.axes if ax.images and ax.get_label() != "<colorbar>"]


def words(made):
    from matplotlib.text import Text

    return {text.get_text() for text in made.findobj(Text)}


def test_the_study_has_all_figures():
    assert set(registry.names("figures")) == set(synthetic_tables.FIGURES)


@pytest.mark.parametrize("name", synthetic_tables.FIGURES)
def test_schema_caption_and_bytes_that_repeat(name, full, tmp_path):
    variant = registry.load("figures", name)
    jsonschema.Draft202012Validator.check_schema(variant.SCHEMA)
    assert variant.SCHEMA["additionalProperties"] is False and len(variant.CAPTION) > 80
    paths = [full / f"{table}.csv" for table in variant.TABLES]
    for turn in ("one", "two"):
        _draw.draw(
            name, paths, filled(variant.SCHEMA, {}), [tmp_path / turn / f"{name}.{form}" for form in FORMS]
        )
    for form in FORMS:
        once, twice = ((tmp_path / turn / f"{name}.{form}").read_bytes() for turn in ("one", "two"))
        assert once == twice and len(once) > 1000
    assert b"<dc:date>" not in (tmp_path / "one" / f"{name}.svg").read_bytes()
    assert b"CreationDate" not in (tmp_path / "one" / f"{name}.pdf").read_bytes()


@pytest.mark.parametrize("name", synthetic_tables.FIGURES)
def test_two_tasks_one_block_and_other_titles(name, tmp_path):
    folder = make(tmp_path, ["dense", "sparse"], synthetic_tables.CONTRASTS[1:2], 1, 2)
    made = drawn(name, folder, {"title": "Mine"})
    assert "Mine" in words(made)


def test_the_users_own_matplotlib_settings_do_not_matter(full):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30}):
        made = drawn("primary_metrics", full)
    assert made.axes[0].xaxis.label.get_size() == 8


def test_accuracy_matrices_hold_the_means_with_row_zero_on_one_scale(full):
    made = drawn("accuracy_matrices", full)
    found = images(made)
    assert len(found) == 10
    assert {image.get_clim() for image in found} == {(0, 1)}
    scores = tables.read(full / "tables" / "scores.csv")
    own = scores[(scores.condition == "sparse") & (scores.part == "all") & (scores.position > 0)]
    R = found[1].get_array()
    assert R.shape == (7, 6)
    for after, position in ((0, 1), (3, 2), (6, 6)):
        cell = own[(own.after == after) & (own.position == position)].score.mean()
        assert R[after, position - 1] == pytest.approx(cell)


def test_primary_metrics_show_every_block_and_the_interval(full):
    made = drawn("primary_metrics", full)
    summary = tables.read(full / "statistics" / "summary.csv")
    for ax, metric in zip(made.axes, ("forgetting", "forward_transfer"), strict=True):
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [len(line.get_xdata()) for line in dots] == [6] * 10
        row = summary[(summary.metric == metric) & (summary.scale == "raw") & (summary.part == "all")].iloc[0]
        ends = [list(line.get_xdata()) for line in ax.lines]
        assert [pytest.approx(100 * row.lower), pytest.approx(100 * row.upper)] in ends
    assert [label.get_text() for label in made.axes[0].get_yticklabels()] == synthetic_tables.CONDITIONS


def test_paired_differences_keep_families_apart_and_mark_the_verdict(full):
    made = drawn("paired_differences", full)
    ax = made.axes[0]
    assert len(ax.get_yticks()) == 8
    assert [t.get_text() for t in ax.get_yticklabels(minor=True)] == [
        "family: primary",
        "family: secondary",
        "family: stacking",
    ]
    contrasts = tables.read(full / "statistics" / "contrasts.csv")
    primary = contrasts[(contrasts.role == "primary") & (contrasts.metric == "forgetting")]
    filled = [
        line
        for line in ax.lines
        if line.get_markersize() == 5.5 and line.get_markerfacecolor() == _style.BLUE
    ]
    assert len(filled) == (primary.verdict == "shown").sum() > 0
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_markersize() == 2.5) == 8 * 6
    assert "lora_interaction\n(sparse_lora − sparse) − (dense_lora − dense)" in words(made)


def test_learning_frontier_marks_the_chosen_rate(full):
    made = drawn("learning_frontier", full)
    assert len(made.axes) == 10
    for ax in made.axes:
        rate = 0.001 if ax.get_title() == "unlocked" else 0.002
        assert sum(line.get_markersize() == 8 and len(line.get_xdata()) == 1 for line in ax.lines) == 1
        assert f"chosen {rate}" in {text.get_text() for text in ax.texts}


def test_stream_curves_have_tasks_average_and_base(full):
    made = drawn("stream_curves", full)
    scores = tables.read(full / "tables" / "scores.csv")
    for ax in made.axes:
        assert len(ax.lines) == 6 * 2 + 2
    seen = next(line for line in made.axes[0].lines if line.get_linewidth() == 1.8)
    own = scores[(scores.condition == "dense") & (scores.part == "all") & (scores.position > 0)]
    expected = own[(own.after == 4) & (own.position <= 4)].score.mean()
    assert seen.get_ydata()[3] == pytest.approx(expected)
    assert len(drawn("stream_curves", full, {"part": "memory"}).axes) == 10


def test_density_by_layer_and_matrix(full):
    image = images(drawn("density", full))[0]
    assert image.get_array().shape == (4, 7)
    assert image.get_array()[0, 0] == pytest.approx(0.5)


def test_a_figure_without_data_says_so(full):
    found = {"densities": tables.read(full / "tables" / "densities.csv").iloc[:0]}
    with _style.style():
        variant = registry.load("figures", "density")
        made = variant.draw(found, filled(variant.SCHEMA, {}))
    assert any("absent weights" in text for text in words(made))


@pytest.mark.parametrize("name", ["accuracy_matrices", "stream_curves"])
def test_a_part_that_no_item_has_is_refused(full, name):
    message = (
        f"figures.{name}.part: found 'memry', expected one of all, memory, relation .did you mean 'memory'"
    )
    with pytest.raises(UserError, match=message):
        drawn(name, full, {"part": "memry"})


def test_no_text_is_cut_or_overlaps_a_neighbour(full):
    for name in synthetic_tables.FIGURES:
        made = drawn(name, full)
        renderer = made.canvas.get_renderer()
        area = made.bbox
        for ax in made.axes:
            box = ax.get_tightbbox(renderer)
            assert area.x0 - 1 <= box.x0 and box.x1 <= area.x1 + 1, name
            assert area.y0 - 1 <= box.y0 and box.y1 <= area.y1 + 1, name
            labels = [
                t for t in ax.get_xticklabels() if t.get_text() and t.get_visible() and not t.get_rotation()
            ]
            boxes = sorted((t.get_window_extent(renderer) for t in labels), key=lambda b: b.x0)
            assert all(a.x1 <= b.x0 + 1 for a, b in zip(boxes, boxes[1:], strict=False)), name
