"""Methods side by side on the page: numbers worked out by hand, and a page of a study that measures."""

import made_up
import pandas
import pytest

from sparse_continual import tables
from sparse_continual.report.methods import of_methods
from sparse_continual.report.render import write
from sparse_continual.report.words import LANGUAGES, Words

EN = Words("en")
CONDITIONS = {
    name: {"base": "tiny", "topology": name, "mechanism": "finetune"}
    for name in ("dense", "wanda", "random", "erk_init")
}
CONDITIONS["control"] = {"base": "tiny", "topology": "dense", "match": {"to": "wanda", "on": "flops"}}
FACTS = {
    "study": {"conditions": list(CONDITIONS), "measure_topologies": True},
    "conditions": CONDITIONS,
    "topology_names": {name: own["topology"] for name, own in CONDITIONS.items()},
}


def found():
    """Two blocks; perplexities with geometric means 4, 6, 5, 8 and so on."""
    rows = [
        ("dense", "base", (2, 8)),
        ("dense", "recovered", (1, 9)),
        ("wanda", "base", (2, 8)),
        ("wanda", "pruned", (4, 9)),
        ("wanda", "recovered", (5, 5)),
        ("random", "base", (2, 8)),
        ("random", "pruned", (100, 400)),
        ("random", "recovered", (8, 8)),
        ("erk_init", "base", (400, 400)),
        ("erk_init", "pruned", (410, 410)),
        ("erk_init", "trained", (7, 7)),
        ("erk_init", "recovered", (6, 6)),
    ]
    perplexities = [(t, str(b + 1), s, float(v), 10) for t, s, both in rows for b, v in enumerate(both)]
    errors = [("wanda", b, m, 0, "q_proj", e) for b in "12" for m, e in (("a", 0.1), ("b", 0.2), ("c", 0.9))]
    costs = [("wanda", b, "pruned", s, 5e8, 2e6) for b, s in (("1", 2.0), ("2", 4.0))]
    densities = [
        (t, b, "dense" if t == "dense" else "unstructured", 100, 100 if t == "dense" else 50)
        for t in ("dense", "wanda", "random", "erk_init")
        for b in "12"
    ]
    levels = {"dense": (0.9, 0.5), "wanda": (0.8, 0.4), "random": (0.7, -0.01), "erk_init": (0.75, 0.2)}
    summary = [
        (name, part, scale, metric, value if (part, scale) == ("all", "raw") else 9.0)
        for name, both in levels.items()
        for metric, value in zip(("learning_accuracy", "forgetting"), both, strict=True)
        for part, scale in (("all", "raw"), ("memory", "raw"), ("all", "corrected"))
    ]
    frames = {
        "perplexities": (perplexities, "topology block stage perplexity tokens"),
        "layer_errors": (errors, "topology block matrix layer module error"),
        "costs": (costs, "topology block stage seconds peak_bytes added_bytes"),
        "densities": (densities, "topology block pattern weights nonzeros"),
        "summary": (summary, "condition part scale metric mean"),
    }
    return {name: pandas.DataFrame(rows, columns=columns.split()) for name, (rows, columns) in frames.items()}


def test_the_table_has_means_over_blocks():
    made = of_methods("people", found(), FACTS, EN)
    heads = [head["column"] for head in made["table"]["head"]]
    cells = [[cell["text"] for cell in row] for row in made["table"]["rows"]]
    rows = {row[0]: dict(zip(heads, row, strict=True)) for row in cells}
    assert list(rows) == ["dense", "wanda", "random", "erk_init"]  # no control of another shape
    assert rows["wanda"] == {
        "condition": "wanda",
        "topology": "wanda",
        "pattern": "unstructured",
        "density": "0.5",
        "perplexity_base": "4",
        "perplexity_pruned": "6",
        "perplexity_trained": "",
        "perplexity_recovered": "5",
        "layer_error": "0.2",
        "learning_accuracy": "80.0",
        "forgetting": "+40.0",
    }
    assert rows["dense"]["perplexity_pruned"] == rows["dense"]["layer_error"] == ""
    assert rows["erk_init"]["perplexity_trained"] == "7" and rows["random"]["forgetting"] == "−1.0"
    (cost,) = made["costs"]["rows"]
    assert [cell["text"] for cell in cost] == ["wanda", "pruning", "3", "500 M", "2 M"]


def test_sentences_name_the_ends():
    assert of_methods("people", found(), FACTS, EN)["lines"] == [
        "Pruned in one of 2 ways, perplexity was between 6 (`wanda`) and 200 (`random`). Before pruning it was 4.",
        "After recovery it was between 5 (`wanda`) and 8 (`random`). The dense model, trained on as long, had 3.",
        "Topologies that were there from the initial weights on ended between 6 (`erk_init`) and 6 (`erk_init`)."
        " All went through the base's own pretraining; before the same pretraining, imp, where it is among them, read"
        " further text to find its ticket.",
        "Among the sparse arms, learning accuracy was between 70.0 (`random`) and 80.0 points (`wanda`).",
        "Their forgetting was between −1.0 (`random`) and 40.0 points (`wanda`). Rates were tuned for each arm, and"
        " arms differ in learning: this ranks nothing.",
    ]


def test_two_bases_that_share_the_name_of_a_topology():
    """The tables then name it with its base; of the second base every perplexity is ten times as high."""
    keep = ("dense", "wanda", "random")
    shared, frames = ("dense", "wanda"), {}
    for name, frame in found().items():
        key = "condition" if name == "summary" else "topology"
        first, second = frame[frame[key].isin(keep)].copy(), frame[frame[key].isin(shared)].copy()
        if key == "topology":
            first[key] = [f"{own} of tiny" if own in shared else own for own in first[key]]
            second[key] = [f"{own} of wide" for own in second[key]]
        else:
            second[key] += "_wide"
        if name == "perplexities":
            second["perplexity"] *= 10
        frames[name] = pandas.concat([first, second])
    conditions = {name: CONDITIONS[name] for name in keep}
    conditions |= {f"{name}_wide": {**CONDITIONS[name], "base": "wide"} for name in shared}
    named = {name: f"{own['topology']} of {own['base']}" for name, own in conditions.items()}
    facts = {
        "study": {"conditions": list(conditions), "measure_topologies": True},
        "conditions": conditions,
        "topology_names": {**named, "random": "random"},
    }
    made = of_methods("people", frames, facts, EN)
    heads = [head["column"] for head in made["table"]["head"]]
    rows = [dict(zip(heads, (c["text"] for c in row), strict=True)) for row in made["table"]["rows"]]
    assert {row["condition"]: (row["topology"], row["perplexity_base"]) for row in rows} == {
        "dense": ("dense of tiny", "4"),
        "wanda": ("wanda of tiny", "4"),
        "random": ("random", "4"),
        "dense_wide": ("dense of wide", "40"),
        "wanda_wide": ("wanda of wide", "40"),
    }
    assert (
        "Base `tiny`: After recovery it was between 5 (`wanda of tiny`) and 8 (`random`)." in made["lines"][1]
    )
    assert made["lines"][5] == (
        "Base `wide`: After recovery it was between 50 (`wanda of wide`) and 50 (`wanda of wide`). The dense model,"
        " trained on as long, had 30."
    )


def test_nothing_is_said_of_what_was_not_measured():
    assert of_methods("people", {}, {"study": {}}, EN) is None
    own = found()
    keep = own["perplexities"].stage.isin(("base", "pruned"))
    own["perplexities"] = own["perplexities"][keep & (own["perplexities"].topology != "erk_init")]
    lines = of_methods("people", own, FACTS, EN)["lines"]
    assert len(lines) == 3 and not any("recovery" in line or "initial" in line for line in lines)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_with_measures(language, tmp_path):
    facts = made_up.facts() | {"language": language}
    facts["study"] |= {"measure_topologies": True}
    facts["figures"] |= {"methods_cost": {"title": "Cost"}, "methods_perplexity": {"title": "Perplexity"}}
    root = made_up.results(tmp_path / "made-up", facts)
    for name in ("perplexities", "layer_errors", "costs"):
        frame = found()[name].replace({"wanda": "sparse_2of4"})
        tables.write(root / "people" / "tables" / f"{name}.csv", frame)
    paths = [tmp_path / name for name in ("report.html", "findings.md", "primary.tex")]
    write(root, facts, *paths, made_up.ENVIRONMENT)
    page = paths[0].read_text(encoding="utf-8")
    words = Words(language)
    topology, environment = (
        page.split(f'<section id="{name}">')[1].split("</section>")[0] for name in ("topology", "environment")
    )
    assert words("page.compared.title") in topology and 'id="table-people-methods"' in topology
    assert 'id="table-people-costs"' in environment and 'id="table-people-costs"' not in topology
    assert "<code>benchmarks/inference.md</code>" in topology
    assert 'id="people-methods_cost"' in environment and 'id="people-methods_perplexity"' in topology
    assert "`" not in environment
