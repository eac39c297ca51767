"""Published checkpoints in the report: what is declared, what was counted, and what follows from neither."""

import made_up
import pandas
import pytest

from sparse_continual.auditing.declared import contradictions
from sparse_continual.report import published
from sparse_continual.report.render import write
from sparse_continual.report.words import Words

EN = Words("en")
DECLARED = {
    **{
        "registry": "A",
        "repo": "owner/a",
        "revision": "0" * 40,
        "licence": None,
        "pattern": "2:4",
        "sparsity": 0.5,
    },
    **{"pruned_by": "SparseGPT", "tokens_of_recovery": 13_000_000_000, "distillation": "SquareHead"},
    "unconfirmed": ["tokens_of_recovery"],
}


def facts(**changes):
    return made_up.facts() | {
        "published": {"tiny": DECLARED | changes},
        "counted": {"sparse_2of4": "tiny"},
    }


def densities(*matrices):
    rows = [{"topology": "sparse_2of4", "pattern": p, "weights": w, "nonzeros": n} for p, w, n in matrices]
    return pandas.DataFrame([*rows, {"topology": "other", "pattern": "dense", "weights": 9, "nonzeros": 9}])


@pytest.mark.parametrize(("declared", "agrees"), [(0.46, "true"), (0.5, "true"), (0.4, "false")])
def test_a_declared_sparsity_may_count_all_weights_as_the_audit_says_too(declared, agrees):
    """Half of 920 block weights is absent, .46 of all 1000: some declare the one and some the other."""
    budget = [{"topology": "sparse_2of4", "parameters": "1000"}, {"topology": "other", "parameters": "9"}]
    (row,) = published.compared(facts(sparsity=declared), densities(("2:4", 920, 460)), budget)
    assert row["agrees"] == agrees
    counted = {"format": "dense", "pattern": "2:4", "finest": "2:4", "sparsity": 0.5, "overall": 0.46}
    said = contradictions({"format": None, "pattern": "2:4", "sparsity": declared}, counted)
    assert (not said) == (agrees == "true")


@pytest.mark.parametrize(
    ("changes", "matrices", "agrees"),
    [
        ({}, [("2:4", 100, 50), ("2:4", 300, 150)], "true"),
        ({}, [("2:4", 100, 49), ("2:4", 300, 148)], "true"),  # .4925 of the weights exist
        ({}, [("2:4", 100, 45), ("2:4", 300, 145)], "false"),  # .475
        ({}, [("2:4", 100, 50), ("unstructured", 300, 150)], "false"),
        ({"sparsity": None}, [("2:4", 100, 40)], "true"),  # nothing is said of it
        ({"pattern": None, "sparsity": None}, [("unstructured", 100, 7)], "true"),
        ({"pattern": "unstructured"}, [("2:4", 100, 50)], "false"),
        ({"sparsity": 0.75}, [("1:4", 100, 25)], "true"),  # 1:4 is 2:4
        ({"pattern": "4:8"}, [("2:4", 100, 50), ("4:8", 300, 150)], "true"),
        ({"sparsity": 0.54}, [("2:4", 100, 50), ("unstructured", 8, 0)], "true"),
        ({"sparsity": None}, [("2:4", 100, 50), ("dense", 8, 8)], "true"),
        ({"sparsity": None}, [("2:4", 100, 50), ("unstructured", 300, 30)], "true"),  # too thin to tell
        ({"sparsity": None}, [("unstructured", 100, 48)], "false"),
        ({"pattern": "1:3", "sparsity": None}, [("2:4", 300, 100)], "true"),  # no 3 is looked for
        ({"pattern": "1:3", "sparsity": None}, [("2:4", 300, 150)], "false"),
        ({"pattern": "structured", "sparsity": 0.5}, [("unstructured", 300, 150)], "true"),
        ({"sparsity": None}, [("dense", 8, 8)], "false"),
    ],
)
def test_declaration_against_count(changes, matrices, agrees):
    (row,) = published.compared(facts(**changes), densities(*matrices), [])
    assert row["agrees"] == agrees
    lines = published.limits(facts(**changes), {"people": {"densities": densities(*matrices)}}, [], EN)
    assert len(lines) == (agrees == "false")


def test_a_wrong_declaration_is_reported_with_both_numbers():
    tables = {"people": {"densities": densities(("unstructured", 100, 30))}}
    (line,) = published.limits(facts(), tables | {"again": tables["people"]}, [], EN)
    assert "Of `tiny` the registry declares 2:4, 0.5" in line and "counted are unstructured, 0.7" in line


def test_contrasts_as_published_are_a_limit():
    own = facts()
    own["study"]["contrasts"] = [
        {"name": "x", "plus": ["sparse"], "minus": ["dense"], "estimand": "as_published"}
    ]
    (line,) = published.limits(own | {"counted": {}}, {}, [], EN)
    assert "(`x`) are as published" in line


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_has_both_tables(tmp_path, language):
    own = facts() | {"language": language}
    root = made_up.results(tmp_path / "made-up", own)
    paths = [root / name for name in ("report.html", "findings.md", "primary.tex")]
    write(root, own, *paths, made_up.ENVIRONMENT)
    page = paths[0].read_text()
    assert "owner/a" in page and "13 G" in page and "SquareHead" in page
    words = Words(language)
    assert words("page.run.published") in page and words("page.topology.declared") in page
    plain = made_up.facts() | {"language": language}
    write(root, plain, *paths, made_up.ENVIRONMENT)
    assert words("page.run.published") not in paths[0].read_text()
