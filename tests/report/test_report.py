"""The page of a made-up study, opened and parsed."""

import re
from html.parser import HTMLParser

import pandas
import pytest
import synthetic_tables

from sparse_continual.report import rates
from sparse_continual.report.limits import limits
from sparse_continual.report.render import differ, write
from sparse_continual.statistics import columns, tables


class Page(HTMLParser):
    """Links, images, ids and the text of a page; unbalanced tags fail."""

    VOID = {"meta", "img", "br", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.ids, self.tags, self.text, self.open = [], [], [], [], "", []
        self.feed(text)
        assert not self.open
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.links += [given[key] for key in ("href", "src", "action", "data", "srcset") if given.get(key)]
        self.images += [given["src"]] if tag == "img" else []
        self.ids += [given["id"]] if "id" in given else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    facts = synthetic_tables.facts(synthetic_tables.CONDITIONS[:5], synthetic_tables.CONTRASTS[:3], blocks=6)
    root = synthetic_tables.results(tmp_path_factory.mktemp("study"), facts, T=3)
    page, extract = root / "report" / "report.html", root / "report" / "findings.md"
    write(root, facts, page, extract)
    return root, facts, page.read_text(encoding="utf-8"), extract.read_text(encoding="utf-8")


def test_opens_offline_and_on_a_phone(study):
    root, _, html, _ = study
    page = Page(html)
    for link in page.links:
        assert link.startswith(("#", "../", "data:image/svg+xml;base64,")), link[:80]
        if link.startswith("../"):
            assert (root / "report" / link).resolve().is_relative_to(root)
    assert not re.search(r"url\(|@import|<script", html)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_every_figure_is_there_with_caption_table_and_config(study):
    root, facts, html, _ = study
    page = Page(html)
    assert len(page.images) == len(facts["figures"])
    for name in facts["figures"]:
        assert f"people-{name}" in page.ids
        assert f"Title of {name}" in page.text
        assert f"{name}: title: Title of {name}" in page.text
    assert {"../people/statistics/contrasts.csv", "../people/tables/densities.csv"} <= set(page.links)
    for link in page.links:
        if link.endswith((".csv", ".svg", ".pdf", ".png")):
            assert (root / "report" / link).is_file(), link


def test_sections_and_columns(study):
    _, facts, html, _ = study
    page = Page(html)
    assert {"question", "run", "findings", "limits", "figures", "metrics", "appendix"} <= set(page.ids)
    for meanings in columns.TABLES.values():
        for name, meaning in meanings.items():
            assert name in page.text and re.sub(r"\s+", " ", meaning) in page.text
    for condition in facts["study"]["conditions"]:
        assert condition in page.text


def test_every_test_has_its_sentence_and_the_sentence_its_numbers(study):
    root, _, html, extract = study
    page, contrasts = Page(html), tables.read(root / "people" / "statistics" / "contrasts.csv")
    primary = contrasts[contrasts.role == "primary"]
    heads = {"shown": "Shown", "not distinguished": "Not distinguished", "gate failed": "Gate failed"}
    for row in primary.itertuples():
        size = f"{100 * abs(row.mean):.1f}"
        verb = (
            f"{row.plus} forgot {size} points"
            if row.metric == "forgetting"
            else f"{row.plus} had {size} points"
        )
        direction = "less" if row.mean < 0 else "more"
        if row.verdict != "gate failed":
            assert f"{verb} {direction}" in page.text
    for verdict, count in primary.verdict.value_counts().items():
        assert len(re.findall(rf"\n- {heads[verdict]}\b", extract)) == count
        assert (
            page.text.count(f"{heads[verdict]}:") + page.text.count(f"{heads[verdict]} at this n:") == count
        )


def test_no_sentence_goes_beyond_its_verdict(study):
    root, _, _, extract = study
    contrasts = tables.read(root / "people" / "statistics" / "contrasts.csv")
    assert len(re.findall(r"\n- Shown", extract)) == (contrasts.verdict == "shown").sum()


def test_limits_are_in_page_and_extract(study):
    _, _, html, extract = study
    for words in (
        "a question of its own",
        "the block (n = 6)",
        "one generator",
        "capacity is not expected to bind",
    ):
        assert words in Page(html).text and words in extract


def test_repeats_to_the_byte(study):
    root, facts, html, extract = study
    write(root, facts, root / "again" / "report.html", root / "again" / "findings.md")
    assert (root / "again" / "report.html").read_text(encoding="utf-8") == html
    assert (root / "again" / "findings.md").read_text(encoding="utf-8") == extract


def test_one_checkpoint_two_streams_three_blocks(tmp_path):
    facts = synthetic_tables.facts(
        synthetic_tables.CONDITIONS[:3],
        synthetic_tables.CONTRASTS[:1],
        3,
        one_base=True,
        streams=("news", "tales"),
    )
    facts["figures"] = {}
    synthetic_tables.results(tmp_path, facts, T=2)
    write(tmp_path, facts, tmp_path / "report.html", tmp_path / "findings.md")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert text.count("Descriptive only for this checkpoint") == 4
    assert "Shown" not in text.split("What was found")[-1].split("What may not")[0].split("planned tests")[-1]
    assert "Every sentence is for this checkpoint" in text and "Streams are analysed each by itself" in text


def test_names_are_escaped(tmp_path):
    facts = synthetic_tables.facts(["a", "b"], [], 2)
    facts["figures"] = {}
    synthetic_tables.results(tmp_path, facts, T=2)
    facts["streams"]["people"]["note"] = "<script>alert(1)</script>"
    write(tmp_path, facts, tmp_path / "report.html", tmp_path / "findings.md")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in html and "No contrast was planned" in html


def test_the_page_tells_rates_final_accuracy_and_buffers(tmp_path):
    names = ["sparse", "unlocked", "sparse_replay"]
    facts = synthetic_tables.facts(names, synthetic_tables.CONTRASTS[:1], 6)
    facts["figures"] = {}
    synthetic_tables.results(tmp_path, facts, T=2)
    write(tmp_path, facts, tmp_path / "report.html", tmp_path / "findings.md")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    words = "(locked against free to grow) and learning rate, as tuned (0.002 against 0.001)."
    assert text.count(words) == 2  # with the question and with the finding
    assert text.count("1,024 tokens, 4,096 B") == 1
    extract = (tmp_path / "findings.md").read_text(encoding="utf-8")
    for place in (text, extract):
        assert place.count("Difference in average accuracy at the end") == 1
        assert "Contrast `lock` compares arms" in place.replace("Contrast lock", "Contrast `lock`")


def test_what_a_contrast_differs_in():
    conditions = synthetic_tables.facts()["conditions"]
    same = dict.fromkeys(conditions, "0.002")

    def words(plus, minus, rates=same):
        return differ({"plus": plus, "minus": minus}, conditions, rates)

    assert words(["sparse"], ["unlocked"]).endswith(
        "they differ in absent weights (locked against free to grow)."
    )
    found = words(["masked_writes"], ["dense"])
    assert "writes (only at the places of sparse_2of4 against all)" in found
    found = words(["sparse"], ["matched_flops"], same | {"sparse": "0.004"})
    assert "topology (sparse_2of4 against dense) and shape" in found
    assert found.endswith(" and learning rate, as tuned (0.004 against 0.002).")
    four = ["sparse_lora", "dense"], ["sparse", "dense_lora"]
    assert "rate" not in words(*four)
    assert words(*four, same | {"dense": "0.001"}).endswith("in this order: 0.002, 0.002, 0.002, 0.001.")


def test_rates_are_told_for_every_stream_where_they_differ():
    found = {"news": stream(), "tales": stream(trials={"sparse": (1, {1: (0, 0), 2: (0, 0)})})}
    assert rates.in_words(found)["sparse"] == "2 on news and 1 on tales"
    assert rates.in_words({"news": stream()})["sparse"] == "2"


# condition -> chosen rate, {rate: (learning, forgetting)}
TRIALS = {
    "sparse": (2, {1: (0.50, 0.10), 2: (0.60, 0.20), 4: (0.65, 0.40)}),
    "unlocked": (1, {1: (0.50, 0.19), 2: (0.59, 0.315), 4: (0.58, 0.50)}),
}
BUDGET = {"stream": "people", "parameters": "100", "nonzeros": "50000", "prunable": "50000", "matched_on": ""}
BUDGET |= {"training_theoretical": "4", "training_executed": "4"}


def stream(trials=TRIALS, verdicts=("gate failed", ""), flags=(), transfer=(-0.01, 0.01), metrics=()):
    """The tables of one stream, with one contrast `lock` of `sparse` against `unlocked`."""
    frontier = [
        (arm, rate, block, rate == chosen, learnt + shift, forgot + shift)
        for arm, (chosen, found) in trials.items()
        for rate, (learnt, forgot) in found.items()
        for block, shift in (("tuning-1", -0.02), ("tuning-2", 0.02))
    ]
    names = ["condition", "learning_rate", "block", "chosen", "learning_accuracy", "forgetting"]
    lock = {"contrast": "lock", "plus": "sparse", "minus": "unlocked"}
    rows = [
        lock | {"role": role, "verdict": v} for role, v in zip(("primary", "beside"), verdicts, strict=True)
    ]
    summary = {"part": "all", "scale": "raw", "lower": transfer[0], "upper": transfer[1]}
    measured = [(arm, "forward_transfer") for arm in trials] + list(metrics)
    return {
        "contrasts": pandas.DataFrame(rows),
        "frontier": pandas.DataFrame(frontier, columns=names),
        "flags": pandas.DataFrame({"kind": list(flags)}),
        "runs": pandas.DataFrame({"ends_share": [0.4, 0.6]}),
        "summary": pandas.DataFrame([summary | {"condition": arm, "metric": m} for arm, m in measured]),
    }


def lines(found=None, budget=(BUDGET,), **study):
    facts = synthetic_tables.facts()
    facts["study"] |= {"tuning": {"learning_rates": [1, 2, 4], "blocks": 2}} | study
    return "\n".join(limits(facts, list(budget), {"people": found or stream()}))


def test_limits_follow_the_facts():
    facts = synthetic_tables.facts(blocks=3)
    facts["streams"]["people"] |= {"people": 2000, "tasks": 20}
    facts["study"]["training"] |= {"ends": "trained", "stop": {"loss": 0.1, "cap": 400, "every": 10}}
    text = "\n".join(limits(facts, [BUDGET], {"people": stream(flags=["floor", "floor"])}))
    for words in (
        "With 3 blocks nothing can be shown, only described: the exact test can at best reach p = .250",
        "capacity may bind",
        "validation loss of 0.1",
        "50 % of the squared update",
        "Where the learning gate failed",
        "2 series of scores never come more than 5 points above chance",
        "takes its standard error from 2 tuning blocks",
        "Rank and alpha of LoRA were not tuned for each arm, only the learning rate was; the form `side`",
    ):
        assert words in text
    assert "kernels execute" not in text and "Not distinguished" not in text


def test_a_level_out_of_reach_is_a_limit():
    assert "With 6 blocks nothing can be shown" in lines(statistics={"level": 0.01})
    assert "nothing can be shown" not in lines()


def test_a_contrast_of_two_rates_is_a_limit():
    assert (
        "Contrast `lock` compares arms at different learning rates (`sparse` 2, `unlocked` 1). On the tuning"
        " blocks the difference in forgetting (in learning) is −9.0 (+0.0) at 1 in both, −11.5 (+1.0) at 2 in"
        " both, −10.0 (+7.0) at 4 in both, and +1.0 (+10.0) points at the chosen rates: how much of a"
        " difference, or of none, is the rate's cannot be told from the test alone."
    ) in lines()
    alike = TRIALS | {"unlocked": (2, TRIALS["unlocked"][1])}
    assert "compares arms at different" not in lines(stream(alike))


def test_edges_of_the_grid_are_a_limit_for_the_chosen_and_the_best_rate():
    text = lines()
    assert "`unlocked` took the smallest learning rate of the grid (1)" in text
    assert "`sparse` learnt best at the largest learning rate of the grid (4), though" in text
    assert "A single learning rate" in lines(tuning={"learning_rates": [2], "blocks": 2})


def test_transfer_near_zero_is_a_limit():
    words = "In stream `people` no condition's forward transfer is distinguished from none"
    assert words in lines()
    assert words not in lines(stream(transfer=(0.01, 0.02)))


def test_retention_that_was_not_measured_is_a_limit():
    assert "Retention of the base was not measured: it declares no mixture." in lines()
    kept = [("sparse", "base_retention")]
    assert "not measured under `unlocked`:" in lines(stream(metrics=kept))
    assert "Retention" not in lines(stream(metrics=[*kept, ("unlocked", "base_retention")]))


def test_two_controls_that_are_one_model_are_a_limit():
    def control(on, weights):
        sizes = {"nonzeros": weights, "prunable": weights}
        return BUDGET | sizes | {"condition": f"by_{on}", "matched_on": on, "matched_to": "sparse"}

    text = lines(budget=[control("nonzeros", "1000"), control("flops", "1040")])
    assert (
        "`by_nonzeros` and `by_flops` are nearly the same model (1,000 and 1,040 weights in blocks)" in text
    )
    assert "nearly" not in lines(budget=[control("nonzeros", "1000"), control("flops", "1100")])
