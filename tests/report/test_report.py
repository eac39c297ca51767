"""The page of a made-up study, opened and parsed."""

import re
from html.parser import HTMLParser

import pytest
import synthetic_tables

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
    for words in ("a question of its own", "the block (n = 6)", "one generator", "capacity does not bind"):
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


def test_what_a_contrast_differs_in():
    conditions = synthetic_tables.facts()["conditions"]
    row = {"plus": "sparse", "minus": "unlocked"}
    assert differ(row, conditions).endswith("they differ in absent weights (locked against free to grow).")
    row = {"plus": "masked_writes", "minus": "dense"}
    assert "writes (only at the places of sparse_2of4 against all)" in differ(row, conditions)
    row = {"plus": "sparse", "minus": "matched_flops"}
    assert "topology (sparse_2of4 against dense) and shape" in differ(row, conditions)


def test_limits_follow_the_facts():
    import pandas

    facts = synthetic_tables.facts(blocks=3)
    facts["streams"]["people"] |= {"people": 2000, "tasks": 20}
    facts["study"]["training"] |= {"ends": "trained", "stop": {"loss": 0.1, "cap": 400, "every": 10}}
    budget = [
        {"parameters": "100", "nonzeros": "50000", "training_theoretical": "4", "training_executed": "4"}
    ]
    stream = {
        "contrasts": pandas.DataFrame({"verdict": ["gate failed", ""]}),
        "frontier": pandas.DataFrame({"condition": ["sparse"], "learning_rate": [4e-3], "chosen": [True]}),
        "flags": pandas.DataFrame({"kind": ["floor", "floor"]}),
        "runs": pandas.DataFrame({"ends_share": [0.4, 0.6]}),
    }
    text = "\n".join(limits(facts, budget, {"people": stream}))
    for words in (
        "With 3 blocks everything is descriptive",
        "capacity may bind",
        "validation loss of 0.1",
        "50 % of the squared update",
        "`sparse` took the largest learning rate",
        "Where the learning gate failed",
        "2 series of scores never come more than 5 points above chance",
    ):
        assert words in text
    assert "kernels execute" not in text and "Not distinguished" not in text
