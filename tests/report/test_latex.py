"""The LaTeX of the primary table, read by a small parser in place of TeX."""

import re

import made_up
import pytest

from sparse_continual.report import latex
from sparse_continual.report.words import Words

COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
}
NAST = r"50% of $x_1 & {a\b} #2 ~^ <p>"


def read(text):
    """What TeX would set of `text`; a special character that is not escaped fails."""
    out, at = "", 0
    while at < len(text):
        if text[at] == "\\":
            if text[at + 1] in "{}&%$#_":
                out, at = out + text[at + 1], at + 2
                continue
            command = re.match(r"\\([a-z]+)\{\}", text[at:])
            assert command, text[at:]
            out, at = out + COMMANDS[command[1]], at + command.end()
        elif text[at] == "$":
            maths = re.match(r"\$(-|\\times|\\Vert)\$", text[at:])
            assert maths, text[at:]
            out, at = out + {"-": "−", "\\times": "×", "\\Vert": "‖"}[maths[1]], at + maths.end()
        else:
            assert text[at] not in "{}&%#_~^", text[at:]
            out, at = out + text[at], at + 1
    return out


def rows_of(tex):
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in body.strip().splitlines()]


@pytest.mark.parametrize("text", [NAST, "a_b", "", "−4.1", "2 × 2", "稀疏"])
def test_escaping_is_undone_by_reading(text):
    assert read(latex.escaped(text)) == text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_of_a_study(pages, study, language):
    from sparse_continual import tables

    tex = pages[language][2].read_text(encoding="utf-8")
    for name in ("table", "tabular"):
        assert tex.count(rf"\begin{{{name}}}") == tex.count(rf"\end{{{name}}}") == 1
    (columns,) = re.findall(r"\\begin{tabular}{(\w+)}", tex)
    rows = rows_of(tex)
    assert {len(row) for row in rows} == {len(columns)}
    read(re.search(r"\\caption{(.*)}\n", tex)[1])
    root, _ = study
    source = tables.read(root / "people" / "statistics" / "contrasts.csv")
    assert [read(row[0]).strip() for row in rows] == list(source.contrast)
    words = Words(language)
    cells = {
        tuple(read(cell).strip() for cell in row[:1] + row[2:3]): [read(cell).strip() for cell in row[3:]]
        for row in rows
    }

    def cell(contrast, metric="forgetting"):
        return cells[contrast, words.name("metrics", metric)]

    passed, failed = words("gate.passed"), words("gate.failed")
    assert cell("lock", "forward_transfer") == ["10", "−4.0", "−6.0", "−2.0", passed, "--", "--"]
    assert cell("lora_interaction") == ["10", "--", "--", "--", failed, "--", _verdict(words, "gate failed")]
    assert cell("same_shape", "forward_transfer") == ["10", "--", "--", "--", failed, "--", "--"]
    both = words("join.semicolon").join(_verdict(words, word) for word in ("shown", "exploratory"))
    assert cell("lock")[4:] == [passed, words("join.semicolon").join(["< .001", "--"]), both]
    assert cell("sparse_level")[4] == words("gate.none")


def _verdict(words, verdict):
    return words.name("verdicts", verdict).lower()


def test_missing_numbers_one_checkpoint_and_odd_names():
    row = {"contrast": NAST, "estimand": "lock", "metric": "forgetting", "n": 1, "mean": 0.01, "level": 0.05}
    row |= dict.fromkeys(("lower", "upper"), float("nan")) | {"gate": "passed", "holm_p": [], "verdict": []}
    row |= {"unit": "block", "bases": "one for all blocks"}
    tex = latex.primary(NAST, {"people": [row], "news": []}, Words("en"))
    ((name, *_, lower, upper, _, holm, verdict),) = rows_of(tex.split(r"\end{table}")[0])
    assert read(name).strip() == NAST and {lower, upper, holm, verdict} == {" -- ", " --"}
    captions = re.findall(r"\\caption{(.*)}\n", tex)
    assert "For this checkpoint." in read(captions[0]) and "stream: news." in read(captions[1])
    assert made_up.CONTRASTS and tex.endswith("\\end{table}\n")


@pytest.mark.parametrize(
    ("rule", "verdict", "expected"),
    [
        ("noninferiority", "shown", "shown (not inferior by more than 3 points)"),
        ("noninferiority", "not distinguished", "not distinguished"),
        ("superiority", "shown", "shown"),
    ],
)
def test_a_claim_of_noninferiority_says_that_this_is_what_was_shown(rule, verdict, expected):
    import pandas

    from sparse_continual.report.page_tables import primary_rows

    row = {"contrast": "lock", "metric": "forgetting", "minus": "unlocked", "role": "primary", "scale": "raw"}
    claim = {"contrast": "lock", "metric": "forgetting", "stream": "people", "claim": "kept", "rule": rule}
    claim |= {"role": "confirmatory", "verdict": verdict, "claim_margin": 0.03, "holm_p": 0.01}
    claim |= {"gate_passed": "true", "gate_side": "plus", "estimand": "lock"}
    frame = pandas.DataFrame([row | {"gate_passed": "true"}])
    assert primary_rows(frame, "people", [claim], Words("en"))[0]["verdict"] == [expected]


@pytest.mark.parametrize(
    ("claims", "gate", "told"),
    [
        ([{"gate_passed": "true", "verdict": "shown"}], "gate.passed", True),
        ([{"gate_passed": "false", "verdict": "gate failed"}], "gate.failed", False),
        ([], "gate.passed", True),  # the estimate favours minus, which learnt more
    ],
)
def test_the_primary_table_has_the_gate_of_the_side_that_is_said_to_forget_less(claims, gate, told):
    """The plus side learnt less: no gate of a statement that the minus side forgot less."""
    import pandas

    from sparse_continual.report.page_tables import primary_rows

    row = {
        "contrast": "lock",
        "estimand": "lock",
        "metric": "forgetting",
        "minus": "unlocked",
        "role": "primary",
    }
    row |= {"scale": "raw", "mean": 0.104, "lower": 0.08, "upper": 0.13, "gate_passed": "false"}
    row |= {"learning_difference": -0.2, "learning_lower": -0.22, "margin": 0.05}
    claim = {
        "contrast": "lock",
        "metric": "forgetting",
        "stream": "people",
        "claim": "more",
        "rule": "superiority",
    }
    claim |= {"role": "confirmatory", "holm_p": 0.01, "gate_side": "minus", "estimand": "lock"}
    words = Words("en")
    (shown,) = primary_rows(pandas.DataFrame([row]), "people", [claim | own for own in claims], words)
    assert shown["gate"] == words(gate) and (shown["mean"] == 0.104) == told
