"""Every figure drawn from made-up tables: what is in it, that it can be read, and that its bytes repeat."""

import itertools
import re
from pathlib import Path

import figure_tables
import jsonschema
import numpy as np
import pandas
import pytest
from figure_tables import STUDIES
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from sparse_continual import registry, tables
from sparse_continual.errors import UserError
from sparse_continual.figures import _draw, _style, forest, methods_perplexity
from sparse_continual.figures.figure import SECTIONS, Figure
from sparse_continual.report import html_table
from sparse_continual.statistics import paired, power
from sparse_continual.streams.settings import filled

FORMS = ("svg", "pdf", "png")
FIGURES = registry.names("figures")


def names_of(variant):
    return [table.split("/")[-1] for table in (*variant.tables, *variant.study_tables)]


def drawn(name, study, settings=None, stream="people"):
    variant = registry.load("figures", name)
    found = {table: study[table] for table in names_of(variant)}
    with _style.style():
        return variant.draw(
            found,
            {"stream": stream, "level": 0.05} | filled(registry.schema("figures", name), settings or {}),
        )


def words(made):
    return {text.get_text() for text in made.findobj(Text)}


def lines(ax, **look):
    """Lines of `ax` of this look, by the getters of Line2D."""
    return [
        line
        for line in ax.lines
        if all(getattr(line, f"get_{key}")() == value for key, value in look.items())
    ]


def shown(made):
    """(text, box) of every text that can be seen."""
    renderer, found = FigureCanvasAgg(made).get_renderer(), []
    with _style.style():
        made.draw_without_rendering()
    hidden = set()
    for ax in made.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            low, high = sorted(limits)
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                inside = low - 1e-9 <= tick.get_loc() <= high + 1e-9
                if not inside or not ax.axison:
                    hidden |= {tick.label1, tick.label2}
    for text in made.findobj(Text):
        if text.get_text().strip() and text.get_visible() and text not in hidden:
            found.append((text, text.get_window_extent(renderer)))
    return found


# what holds for all


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_documents_itself_and_its_bytes_repeat(name, studies, tmp_path):
    variant, schema = registry.load("figures", name), registry.schema("figures", name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False and len(variant.caption) > 80
    paths = []
    for table in names_of(variant):
        paths.append(tmp_path / f"{table}.csv")
        tables.write(paths[-1], studies["two blocks"][table])
    settings = filled(schema, {}) | {"stream": "people", "level": 0.05}
    for turn in ("one", "two"):
        _draw.draw(name, paths, settings, [tmp_path / turn / f"{name}.{form}" for form in FORMS])
    for form in FORMS:
        once, twice = ((tmp_path / turn / f"{name}.{form}").read_bytes() for turn in ("one", "two"))
        assert once == twice and len(once) > 1000
    assert b"<dc:date>" not in (tmp_path / "one" / f"{name}.svg").read_bytes()
    assert b"CreationDate" not in (tmp_path / "one" / f"{name}.pdf").read_bytes()


def test_a_figure_stands_in_a_section_that_the_page_shows():
    page = Path(html_table.__file__).with_name("templates") / "report.html.j2"
    shown_on_page = re.findall(r'shown\("(\w+)"', page.read_text())
    assert list(dict.fromkeys(shown_on_page)) == SECTIONS
    with pytest.raises(UserError, match="found section 'topologie', expected one of claims, primary"):
        Figure(print, caption="", section="topologie")
    assert html_table.in_order(FIGURES)[:3] == ["forest", "paired_differences", "learning_frontier"]


@pytest.mark.parametrize(("name", "kind"), list(itertools.product(FIGURES, STUDIES)))
def test_all_text_is_whole_legible_and_apart_in_one_column(name, kind, studies):
    made = drawn(name, studies[kind], {"title": "A title " + "that goes on " * 6})
    assert made.get_figwidth() == _style.COLUMN == 3.4
    found, area = shown(made), made.bbox
    for text, box in found:
        assert text.get_size() >= 7, text
        assert area.x0 - 1 <= box.x0 and box.x1 <= area.x1 + 1, text
        assert area.y0 - 1 <= box.y0 and box.y1 <= area.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(found, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        along = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, along) <= 2, f"{one} over {other}"  # 2 pixels of 200 in an inch


@pytest.mark.parametrize("name", FIGURES)
def test_empty_tables_give_a_figure_that_says_why(name, full):
    empty = {table: frame.iloc[:0] for table, frame in full.items()}
    made = drawn(name, empty, {"title": "Mine"})
    sentence = max(words(made) - {"Mine"}, key=len)
    assert sentence.endswith(".") and len(sentence) > 20
    assert not any(ax.lines or ax.images for ax in made.axes)


@pytest.mark.parametrize("name", ["forest", "power", "sensitivity", "frontier_contrasts", "load_response"])
def test_estimates_that_are_all_undefined_are_no_error(name, full):
    study = {table: frame.copy() for table, frame in full.items()}
    for frame in study.values():
        for column in {"mean", "sd", "lower", "upper", "detectable"} & set(frame.columns):
            frame[column] = np.nan
    assert drawn(name, study)


def test_the_users_own_matplotlib_settings_do_not_matter(full):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30}):
        made = drawn("primary_metrics", full)
    assert made.axes[0].xaxis.label.get_size() == 8


def test_names_break_where_they_may():
    assert _style.wrapped("matched_nonzeros", 12) == "matched_\nnonzeros"
    assert _style.wrapped("not distinguished", 20) == "not distinguished"
    assert _style.wrapped("abcdefghij", 4) == "abcd\nefgh\nij"
    assert _style.wrapped("", 4) == ""
    for text in ("a_b-c d", "one two three four", "unbreakable" * 4):
        for width in (3, 5, 8):
            broken = _style.wrapped(text, width)
            assert all(len(line) <= width for line in broken.split("\n"))
            assert broken.replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_intervals_far_beyond_all_points_are_cut_and_say_so():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    _style.fit(ax, [-1.0, 1.0], [(0, -100.0, 2.0), (1, -1.0, 1.0)])
    low, high = ax.get_xlim()
    assert -8 < low < -7 and 2 < high < 3
    assert [(line.get_marker(), line.get_ydata()[0]) for line in ax.lines] == [("<", 0)]


# forest


def test_forest_shows_every_claim_with_interval_verdict_and_n(full):
    made = drawn("forest", full)
    claims = full["claims"]
    ax, level = made.axes
    at = {text.get_text().replace("\n", ""): (text.axes, text.xy[1]) for a in made.axes for text in a.texts}
    for row in claims.itertuples():
        axes, y = at[row.claim]
        assert axes is (level if row.estimand == "level" else ax)
        if np.isnan(row.mean):
            continue
        ends = [list(line.get_xdata()) for line in axes.lines if list(line.get_ydata()) == [y, y]]
        for pair in ((row.lower, row.upper), (row.simultaneous_lower, row.simultaneous_upper)):
            assert any(np.allclose(found, np.multiply(100, pair)) for found in ends)
        marker, face, _ = forest.MARKS[row.verdict]
        (mark,) = [line for line in axes.lines if line.get_markersize() == 6.5 and line.get_ydata()[0] == y]
        assert (mark.get_marker(), mark.get_markerfacecolor()) == (marker, face)
        assert mark.get_xdata()[0] == pytest.approx(100 * row.mean)
    texts = [text.get_text().replace("\n", " ") for a in made.axes for text in a.texts]
    for verdict in set(claims.verdict):
        assert texts.count(verdict) == (claims.verdict == verdict).sum()
    assert texts.count("6 blocks") == claims.n.notna().sum()
    assert any("demonstration, not confirmatory" in text for text in words(made))


def test_forest_marks_differ_in_shape_or_grey():
    def grey(colour):
        return round(float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))), 1)

    looks = {(marker, grey(face)) for marker, face, _ in forest.MARKS.values()}
    assert len(looks) == len(forest.MARKS)


def test_forest_keeps_to_its_stream_and_to_claims_across_streams(full):
    claims = full["claims"].assign(stream="other")
    claims.loc[3, "stream"], claims.loc[4, "stream"] = "people", "people - other"
    claims.loc[5, "stream"] = "people_2"
    made = drawn("forest", {"claims": claims})
    texts = {text.get_text().replace("\n", "") for text in made.axes[0].texts}
    assert set(claims.claim) & texts == {claims.claim[3], claims.claim[4]}
    assert "no claims" in " ".join(words(drawn("forest", {"claims": claims}, stream="third")))


def test_forest_draws_the_margin_behind_estimates(full):
    ax = drawn("forest", full).axes[0]
    (band,) = ax.collections
    x = band.get_paths()[0].vertices[:, 0]
    assert (x.min(), x.max()) == pytest.approx((-3, 3))


# differences


def test_paired_differences_show_blocks_mean_interval_and_gate(full):
    made = drawn("paired_differences", full)
    contrasts = full["contrasts"]
    contrasts = contrasts[(contrasts.role == "primary") & (contrasts.estimand != "level")]
    for ax, metric in zip(made.axes, _style.PRIMARY, strict=True):
        own = contrasts[contrasts.metric == metric]
        dots = [line for line in lines(ax, color=_style.SKY) if len(line.get_xdata()) > 1]
        assert [len(line.get_xdata()) for line in dots] == [6] * 10
        found = full["differences"].query(f"contrast == 'lock' and metric == '{metric}' and scale == 'raw'")
        assert list(dots[0].get_xdata()) == pytest.approx(list(100 * found.difference))
        ends = [list(line.get_xdata()) for line in lines(ax, linewidth=2)]
        assert ends == [pytest.approx([100 * row.lower, 100 * row.upper]) for row in own.itertuples()]
        marks = [line for line in ax.lines if line.get_markersize() == 5]
        assert [line.get_xdata()[0] for line in marks] == pytest.approx(list(100 * own["mean"]))
        assert [line.get_markerfacecolor() == "white" for line in marks] == list(
            own.contrast == "dense_writes"
        )
        assert len(lines(ax, linestyle="--")) == 1  # same_shape is skewed
    assert not {"sparse_level", "lock\nlock"} & words(made)
    assert {"stacking", "may learn less", "bootstrap-t, if skewed"} <= words(made)


def test_primary_metrics_show_every_block_and_the_interval(full):
    made = drawn("primary_metrics", full)
    summary = full["summary"]
    for ax, metric in zip(made.axes, _style.PRIMARY, strict=True):
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [len(line.get_xdata()) for line in dots] == [6] * 10
        row = summary[(summary.metric == metric) & (summary.scale == "raw") & (summary.part == "all")].iloc[0]
        ends = [list(line.get_xdata()) for line in ax.lines]
        assert [pytest.approx(100 * row.lower), pytest.approx(100 * row.upper)] in ends
    assert [text.get_text() for text in made.axes[0].texts if text.get_text()] == figure_tables.CONDITIONS


def test_frontier_contrasts_show_three_kinds_of_equality(full):
    ax = drawn("frontier_contrasts", full).axes[0]
    found = full["frontier_contrasts"]
    for at, marker in (("learning", "o"), ("validation_loss", "s"), ("tuned", "X")):
        x = [line.get_xdata()[0] for line in lines(ax, marker=marker)]
        assert x == pytest.approx(list(100 * found[found["at"] == at]["mean"]))
    assert "n = 2/3/3" in {text.get_text() for text in ax.texts}


def test_sensitivity_fills_what_leaves_zero_out(full):
    made = drawn("sensitivity", full)
    found = full["sensitivity"]
    for ax, metric in zip(made.axes, _style.PRIMARY, strict=True):
        own = found[(found.metric == metric) & (found.contrast == "lock") & (found.left_out == "task")]
        clear = own[(own.lower > 0) | (own.upper < 0)]
        drawn_filled, drawn_open = (
            lines(ax, marker="^", markerfacecolor=face)[0].get_xdata() for face in (_style.BLACK, "white")
        )
        assert list(drawn_filled) == pytest.approx(list(100 * clear["mean"]))
        assert len(drawn_open) == len(own) - len(clear)
        hull = [100 * own.lower.min(), 100 * own.upper.max()]
        assert any(list(line.get_xdata()) == pytest.approx(hull) for line in lines(ax, linewidth=0.7))


def test_interactions_pair_the_arms_and_put_the_cross_where_effects_add_up(full):
    made = drawn("interactions", full)
    assert len(made.axes) == 2 * 3
    mean = full["summary"].query("metric == 'forgetting' and scale == 'raw'").set_index("condition")["mean"]
    ax = made.axes[2]  # lora_interaction: (sparse_lora - sparse) - (dense_lora - dense)
    solid, dashed = (lines(ax, marker=marker)[0].get_ydata() for marker in "os")
    assert list(solid) == pytest.approx([100 * mean["sparse"], 100 * mean["sparse_lora"]])
    assert list(dashed) == pytest.approx([100 * mean["dense"], 100 * mean["dense_lora"]])
    cross = lines(ax, marker="x")[0].get_ydata()[0]
    assert cross == pytest.approx(solid[0] + dashed[1] - dashed[0])
    row = full["contrasts"].query("contrast == 'lora_interaction' and metric == 'forgetting'").iloc[0]
    assert ax.get_title() == (
        f"interaction {100 * row['mean']:+.1f}\n[{100 * row.lower:+.1f}, {100 * row.upper:+.1f}]"
    ).replace("-", "−")
    assert {"sparse to sparse_lora", "dense to dense_lora", "unlocked to sparse"} <= words(made)


def test_load_response_follows_each_contrast_over_the_loads(full):
    made = drawn("load_response", full)
    assert [ax.get_title().replace("\n", "") for ax in made.axes if ax.axison] == [
        name for name, estimand, *_ in figure_tables.CONTRASTS if estimand != "level"
    ]
    own = full["loads"].query("contrast == 'lock' and metric == 'forgetting'")
    line = lines(made.axes[0], marker="o")[0]
    assert list(line.get_ydata()) == pytest.approx(list(100 * own["mean"]))
    assert np.all(np.diff(line.get_xdata()) > 0)
    one = {"loads": full["loads"].query("stream == 'load0'")}
    assert "The streams of this study have one load" in " ".join(words(drawn("load_response", one)))


# curves


def test_power_curves_are_those_of_the_plan_at_the_level_of_one_claim(full):
    made = drawn("power", full)
    ax = made.axes[0]
    own = full["power"].query("metric == 'forgetting'")
    curves = {line.get_linestyle(): line for line in ax.lines if len(line.get_xdata()) > 2}
    assert list(curves) == ["-", "-.", "--"]
    for style, source in (("-", "planning"), ("-.", "pilot"), ("--", "observed")):
        sd = own[own.source == source].sd.median()
        at = dict(zip(curves[style].get_xdata(), curves[style].get_ydata(), strict=True))
        for n in (3, 6, 15):
            assert at[n] == pytest.approx(100 * power.detectable(n, sd, 0.05 / 5))
    upright = [line.get_xdata()[0] for line in lines(ax, linewidth=0.7)]
    assert upright == [6]
    level = [line.get_ydata()[0] for line in lines(ax, linestyle=":")]
    assert level == pytest.approx([5])
    hatched = ax.patches[0].get_bbox()
    assert hatched.x1 == 5.5  # 2 / 2**6 is the first below .05
    assert "n = 6; 5 claims" in words(made)


def test_specification_sorts_and_marks_choices_and_the_primary_one(full):
    made = drawn("specification", full, {"contrast": "same_shape"})
    top, bits, choices, _ = made.axes
    own = full["specification"].query("contrast == 'same_shape' and scale != 'bits'")
    own = own.sort_values("mean", kind="stable").reset_index(drop=True)
    ring = lines(top, markersize=8)
    assert len(ring) == 1 and not lines(bits, markersize=8)
    assert ring[0].get_xdata()[0] == own.index[own.primary][0]
    filled_marks = lines(top, marker="o", markerfacecolor=_style.BLACK)[0]
    clear = own[(own.lower > 0) | (own.upper < 0)]
    assert list(filled_marks.get_xdata()) == list(clear.index)
    assert list(filled_marks.get_ydata()) == pytest.approx(list(100 * clear["mean"]))
    assert len(lines(top, marker="x")[0].get_xdata()) == own.lower.isna().sum()
    ticks = lines(choices, marker="|")[0]  # the first choice: metric forgetting
    assert list(ticks.get_xdata()) == list(own.index[own.metric == "forgetting"])
    assert "exploratory" in top.get_title(loc="left")
    with pytest.raises(UserError, match="figures.specification.contrast: found 'lok'.*did you mean 'lock'"):
        drawn("specification", full, {"contrast": "lok"})


def test_retained_bits_have_curves_bands_and_the_ratio_of_slopes(full):
    made = drawn("retained_bits", full)
    assert len(made.axes) == 3 * 10
    own = full["retention"].query("condition == 'sparse' and after == 4").retained_bits
    ax = made.axes[3]
    curve = lines(ax, marker="o")[0]
    at = dict(zip(curve.get_xdata(), curve.get_ydata(), strict=True))
    assert at[4] == pytest.approx(own.mean())
    band = ax.collections[0].get_paths()[0].vertices
    ends = band[band[:, 0] == 4][:, 1]
    assert (ends.min(), ends.max()) == pytest.approx(paired.interval(own, 0.05))
    assert ax.get_title(loc="right") == "0.20\n[0.00, 0.40]"
    assert made.axes[2].get_title(loc="right") == "plasticity (points)\n−0.40\n[−0.60, −0.20]"
    short = {**full, "retention": full["retention"].query("after <= 1")}
    assert any("too short" in text for text in words(drawn("retained_bits", short)))


def test_curves_count_bases_where_blocks_share_them(full):
    values = pandas.Series(
        [1.0, 2.0, 4.0, 5.0], index=pandas.MultiIndex.from_product([[3], ["1", "2", "3", "4"]])
    )
    differences = pandas.DataFrame({"block": ["1", "2", "3", "4"], "base": ["1", "1", "3", "3"]})
    x, mean, lower, upper = _style.curve(values, 0.05, differences)
    assert (x, mean) == ((3,), (3.0,))
    assert (lower[0], upper[0]) == pytest.approx(paired.interval([1.5, 4.5], 0.05))
    *_, lower, upper = _style.curve(values, 0.05, differences.assign(base=differences.block))
    assert (lower[0], upper[0]) == pytest.approx(paired.interval(values, 0.05))


def test_stream_curves_have_tasks_average_and_base_with_intervals(full):
    made = drawn("stream_curves", full)
    ax, scores = made.axes[0], full["scores"]
    assert len(ax.lines) == 6 * 2 + 2
    (seen,) = lines(ax, linewidth=1.8)
    own = scores[(scores.condition == "dense") & (scores.part == "all") & (scores.position > 0)]
    blocks = own[(own.after == 4) & (own.position <= 4)].groupby("block").score.mean()
    assert seen.get_ydata()[3] == pytest.approx(blocks.mean())
    band = ax.collections[0].get_paths()[0].vertices
    ends = band[band[:, 0] == 4][:, 1]
    assert (ends.min(), ends.max()) == pytest.approx(paired.interval(blocks, 0.05))
    assert len(lines(ax, linewidth=1.4, linestyle="--")) == 1
    wide = drawn("stream_curves", full, {"part": "memory", "level": 0.01}).axes[0].collections[0]
    assert np.ptp(wide.get_paths()[0].vertices[:, 1]) > 0


def test_learning_frontier_marks_the_chosen_rate(full):
    made = drawn("learning_frontier", full)
    panels = [ax for ax in made.axes if ax.axison]
    assert len(panels) == 10
    for ax in panels:
        rate = 0.001 if ax.get_title() == "unlocked" else 0.002
        assert sum(line.get_markersize() == 8 and len(line.get_xdata()) == 1 for line in ax.lines) == 1
        assert f"chosen {rate}" in {text.get_text() for text in ax.texts}


# images


def images(made):
    return [ax.images[0] for ax in made.axes if ax.images and ax.get_label() != "<colorbar>"]


def test_accuracy_matrices_hold_the_means_with_row_zero_on_one_scale(full):
    found = images(drawn("accuracy_matrices", full))
    assert len(found) == 10
    assert {image.get_clim() for image in found} == {(0, 1)}
    scores = full["scores"]
    own = scores[(scores.condition == "sparse") & (scores.part == "all") & (scores.position > 0)]
    R = found[1].get_array()
    assert R.shape == (7, 6)
    for after, position in ((0, 1), (3, 2), (6, 6)):
        cell = own[(own.after == after) & (own.position == position)].score.mean()
        assert R[after, position - 1] == pytest.approx(cell)


def test_density_by_layer_and_matrix(full):
    image = images(drawn("density", full))[0]
    assert image.get_array().shape == (4, 7)
    assert image.get_array()[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["accuracy_matrices", "stream_curves"])
def test_a_part_that_no_item_has_is_refused(full, name):
    message = (
        f"figures.{name}.part: found 'memry', expected one of all, memory, relation .did you mean 'memory'"
    )
    with pytest.raises(UserError, match=message):
        drawn(name, full, {"part": "memry"})


# methods side by side


def test_methods_perplexity_has_a_mark_per_stage_and_a_dot_per_matrix(full):
    made = drawn("methods_perplexity", full)
    left, right = made.axes
    found = full["perplexities"]
    own = found[(found.topology == "sparse") & (found.stage == "pruned")]
    marks = {
        stage: lines(left, marker=look[0], markersize=look[1], markerfacecolor=look[2])
        for stage, look in methods_perplexity.STAGES.items()
    }
    (pruned,) = marks["pruned"]
    names = [name for name in figure_tables.CONDITIONS if name not in ("dense", "sparse_replay")]
    assert len(pruned.get_xdata()) == len(names)
    assert pruned.get_xdata()[0] == pytest.approx(np.exp(np.log(own.perplexity).mean()))
    (base,), (trained,), (recovered,) = marks["base"], marks["trained"], marks["recovered"]
    assert (len(base.get_xdata()), len(trained.get_xdata()), len(recovered.get_xdata())) == (9, 1, 10)
    dots = [line for line in lines(right, markersize=2.5) if len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in dots] == [7] * len(names)
    assert list(dots[0].get_xdata()) == pytest.approx([0.05 * (matrix + 1) for matrix in range(7)])
    medians = [line.get_xdata()[0] for line in lines(right, markersize=8)]
    assert medians[0] == pytest.approx(0.05 * 4)
    assert left.get_xscale() == right.get_xscale() == "log"


def test_methods_cost_shows_the_median_of_every_step(full):
    costs = full["costs"].copy()
    costs.loc[(costs.topology == "sparse") & (costs.stage == "pruned") & (costs.block == "1"), "seconds"] = 99
    made = drawn("methods_cost", {"costs": costs})
    seconds, memory = made.axes
    (pruned,) = lines(seconds, marker="o")
    assert pruned.get_xdata()[0] == pytest.approx(0.6)  # one slow block moves no median
    (added,) = lines(memory, marker="o")
    assert added.get_xdata()[0] == pytest.approx(10)
    assert {"pruning", "recovery", "pretraining under the mask"} <= words(made)
