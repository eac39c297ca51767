"""One sentence per verdict, against rows written by hand; and that no word goes beyond its numbers."""

import math

import made_up
import numpy as np
import pytest

from sparse_continual.errors import UserError
from sparse_continual.report.sentences import details, finding, seen
from sparse_continual.report.words import Words
from sparse_continual.verdicts.verdict import WORDS

EN, ZH = Words("en"), Words("zh")
LOCK = {"name": "lock", "plus": ["sparse"], "minus": ["unlocked"], "estimand": "lock"}
FOUR = {"plus": ["sparse_lora", "dense"], "minus": ["sparse", "dense_lora"], "estimand": "stacking"}
LEVEL = {"plus": ["sparse"], "minus": [], "estimand": "level"}
LOAD = LOCK | {"estimand": "load", "streams": ["light", "heavy"]}
ROW = {
    "claim": "lock_less",
    "role": "confirmatory",
    "rule": "superiority",
    "stream": "people",
    "contrast": "lock",
    "estimand": "lock",
    "metric": "forgetting",
    "direction": "less",
    "claim_margin": math.nan,
    "n": 6,
    "unit": "block",
    "mean": -0.041,
    "lower": -0.070,
    "upper": -0.012,
    "simultaneous_lower": -0.09,
    "simultaneous_upper": 0.01,
    "bootstrap_lower": math.nan,
    "bootstrap_upper": math.nan,
    "p": 0.0013,
    "p_source": "t",
    "tests": 8,
    "holm_p": 0.0101,
    "sign_flip_p": 0.03125,
    "sign_flip_smallest": 0.03125,
    "exact_reaches_level": "true",
    "tost_p": math.nan,
    "equivalence_lower": math.nan,
    "equivalence_upper": math.nan,
    "detectable": 0.031,
    "tost_power": math.nan,
    "learning_difference": -0.003,
    "learning_lower": -0.021,
    "learning_upper": 0.015,
    "gate_side": "plus",
    "gate_p": 0.002,
    "gate_passed": "true",
    "members": "",
    "failed_members": "",
    "level": 0.05,
    "margin": 0.05,
    "bases": "one per block",
    "phase": "confirmatory",
    "verdict": "shown",
    "note": "",
}
MARGIN = {"claim_margin": 0.05, "tost_p": 0.0012, "equivalence_lower": -0.02, "equivalence_upper": 0.03}
ALIKE = ROW | MARGIN | {"verdict": "equivalent", "mean": 0.004, "lower": -0.01, "upper": 0.018}
NOT = ROW | {"verdict": "not distinguished", "mean": 0.01, "lower": -0.02, "upper": 0.04, "holm_p": 0.4}


def test_shown():
    assert finding(ROW, LOCK, EN) == (
        "Shown: `sparse` forgot 4.1 points less than `unlocked` (95 % interval 1.2 to 7.0 less; 6 blocks,"
        " each with its own base; Holm-adjusted p = .010, the larger of test and learning gate, 8 separate"
        " claims), while `sparse` learnt at most 5 points less than `unlocked`."
    )
    assert details(ROW, LOCK, EN) == [
        "The sign-flip test, unadjusted, agrees (p = .031).",
        "Learning gate passed by itself: the difference in learning is −0.3 points, one-sided 95 % bound −2.1. Its p on"
        " the side that the estimate favours (p = .002) is counted in the adjusted p.",
        "It also learnt 0.3 points less, which alone can lower forgetting by as much.",
    ]
    assert seen(ROW, EN) == [
        "With n = 6 and this spread, a true difference of about 3.1 points would have been found with probability .8,"
        " smaller ones less often; this leaves out the learning gate, the exact test and the bootstrap."
    ]


def test_shown_in_chinese():
    assert finding(ROW, LOCK, ZH) == (
        "得到证实：`sparse` 比 `unlocked` 少遗忘 4.1 个百分点（95% 置信区间：少 1.2 至 7.0；6 个区组，各有自己的基座；"
        "Holm 校正 p = .010（取检验与学习门槛中较大者），共 8 项独立主张），"
        "同时 `sparse` 的学习至多比 `unlocked` 少 5 个百分点。"
    )


def test_contradicted_names_the_side_that_must_have_learnt():
    row = ROW | {"verdict": "contradicted", "mean": 0.041, "lower": 0.012, "upper": 0.07}
    text = finding(row, LOCK, EN)
    assert text.startswith(
        "Contradicted, in the direction opposite to the claim: `sparse` forgot 4.1 points more"
    )
    assert text.endswith("while `unlocked` learnt at most 5 points less than `sparse`.")
    with pytest.raises(UserError, match="learning gate"):
        finding(row | {"learning_upper": 0.06}, LOCK, EN)


def test_equivalent():
    assert finding(ALIKE, LOCK, EN) == (
        "Equivalent within ±5 points: `sparse` forgot 0.4 points more than `unlocked` (98.8 % interval −2.0 to"
        " +3.0; two one-sided tests, p = .001; 6 blocks, each with its own base), while learning differed by"
        " less than 5 points."
    )
    words = (
        "Were the true difference exactly 0, equality within ±5 points would have been found with probability"
    )
    rest = ", if arms also learn alike; at any other difference less often."
    assert seen(ALIKE | {"tost_power": 0.834}, EN)[1] == f"{words} .83{rest}"
    assert seen(ALIKE | {"tost_power": 0.001}, EN)[1] == f"{words} less than .01{rest}"
    gates = details(ALIKE, LOCK, EN)[0]
    assert (
        gates.startswith("Learning gates passed") and "held to the level over the number of claims" in gates
    )


def test_not_distinguished():
    text = finding(NOT, LOCK, EN)
    assert text.startswith("Not distinguished at this n: `sparse` forgot 1.0 points more than `unlocked`")
    assert "95 % interval from 2.0 less to 4.0 more" in text and text.endswith("no evidence of equality.")
    (words,) = seen(NOT, EN)
    assert "about 3.1 points would have been found with probability .8, smaller ones less often" in words
    assert not any("sign-flip" in line for line in details(NOT, LOCK, EN))


def test_disagreement_of_the_exact_test_is_said():
    row = NOT | {"holm_p": 0.01, "sign_flip_p": 0.0625}
    assert "does not agree, even unadjusted (p = .062)" in details(row, LOCK, EN)[0]


def test_noninferiority_names_its_margin():
    row = ROW | {"rule": "noninferiority", "claim_margin": 0.05, "lower": -0.02, "upper": 0.04, "mean": 0.01}
    assert finding(row, LOCK, EN).startswith(
        "Shown: the difference stays below +5 points: `sparse` forgot 1.0 points"
    )
    with pytest.raises(UserError, match="covers 0.05"):
        finding(row | {"upper": 0.06}, LOCK, EN)
    words = "it is not shown that the difference stays below +5 points"
    assert words in finding(row | {"verdict": "not distinguished", "upper": 0.06}, LOCK, EN)


def test_descriptive():
    row = ROW | {"verdict": "descriptive", "n": 3, "sign_flip_smallest": 0.25}
    assert finding(row, LOCK, EN) == (
        "Descriptive only (3 blocks, each with its own base; the exact test can at best reach p = .250, and the"
        " level is .05): in what was run, `sparse` forgot 4.1 points less than `unlocked` (95 % interval 1.2 to"
        " 7.0 less)."
    )
    few = finding(row | {"n": 5, "level": 0.1, "sign_flip_smallest": 0.0625}, LOCK, EN)
    assert "there are fewer than 6 blocks" in few
    few = finding(row | {"n": 5, "unit": "base", "level": 0.1, "sign_flip_smallest": 0.0625}, LOCK, EN)
    assert "there are fewer than 6 bases" in few
    one = row | {
        "n": 1,
        "lower": math.nan,
        "upper": math.nan,
        "learning_lower": math.nan,
        "gate_passed": "false",
    }
    assert "with so few blocks nothing bounds the difference in learning" in finding(one, LOCK, EN)


@pytest.mark.parametrize("words", [EN, ZH])
@pytest.mark.parametrize("verdict", ["descriptive", "exploratory", "gate failed"])
def test_without_learning_nothing_is_said_of_forgetting(verdict, words):
    row = ROW | {
        "verdict": verdict,
        "gate_passed": "false",
        "learning_difference": -0.071,
        "learning_lower": -0.09,
    }
    row |= {"role": "exploratory"} if verdict == "exploratory" else {}
    text = finding(row, LOCK, words)
    assert "4.1" not in text and "7.0" not in text and "−7.1" in text and "−9.0" in text
    assert details(row, LOCK, words) == seen(row, words) == []


def test_a_metric_that_is_not_defined_everywhere_is_described_and_says_why():
    row = ROW | {"note": "not defined in 2 of 8 blocks", "verdict": "descriptive"}
    lacking = "forgetting is not defined in 2 of 8 blocks, which can be the collapses"
    assert f"each with its own base; {lacking}):" in finding(row, LOCK, EN)
    few = finding(row | {"n": 3, "sign_flip_smallest": 0.25}, LOCK, EN)
    assert f"and the level is .05; {lacking}):" in few
    assert "遗忘在 8 个区组中的 2 个没有定义" in finding(row, LOCK, ZH)
    joint = row | {"rule": "all_of", "members": "a b", "contrast": "", "note": ""}
    assert lacking in finding(joint, None, EN, [ROW, row])
    for verdict in ("shown", "contradicted", "equivalent", "not distinguished"):
        with pytest.raises(UserError, match="not defined in every block"):
            finding(row | {"verdict": verdict}, LOCK, EN)


def test_gate_failed_for_the_minus_side():
    row = ROW | {"verdict": "gate failed", "learning_difference": 0.07, "learning_upper": 0.09}
    row |= {"gate_passed": "false", "gate_side": "minus"}
    assert finding(row, LOCK, EN) == (
        "Gate failed: no statement about forgetting is made, since it is not shown that `unlocked` learnt at"
        " most 5 points less than `sparse`: the difference in learning is +7.0 points, one-sided 95 % bound"
        " +9.0 (6 blocks, each with its own base)."
    )


def test_not_tested_and_exploratory():
    row = ROW | {"rule": "untested", "verdict": "not tested", "contrast": "", "metric": "", "estimand": ""}
    assert finding(row, None, EN) == "Not tested: nothing in this study bears on it."
    row = ROW | {"role": "exploratory", "verdict": "exploratory"}
    assert finding(row, LOCK, EN).startswith("Exploratory, not a test: in what was run, `sparse` forgot 4.1")


def test_other_forms_and_metrics():
    text = finding(ROW | {"estimand": "stacking"}, FOUR, EN)
    assert (
        "in forgetting, the difference `sparse_lora` − `sparse` was 4.1 points lower than the difference"
        in text
    )
    assert "`dense_lora` − `dense` (95 % interval 1.2 to 7.0 lower;" in text
    assert text.endswith("while the same difference in learning is above −5 points.")
    assert "lower on stream `light` than on stream `heavy`" in finding(ROW | {"estimand": "load"}, LOAD, EN)
    level = ROW | {"estimand": "level", "gate_side": "", "learning_lower": math.nan, "direction": "more"}
    level |= {"mean": 0.3, "lower": 0.2, "upper": 0.4}
    assert "forgetting of `sparse` was 30.0 points above zero (95 % interval 20.0 to 40.0 above;" in finding(
        level, LEVEL, EN
    )
    row = ROW | {
        "metric": "forward_transfer",
        "direction": "more",
        "mean": 0.013,
        "lower": 0.002,
        "upper": 0.024,
    }
    assert "`sparse` had 1.3 points more forward transfer than `unlocked`" in finding(row, LOCK, EN)
    row = ROW | {"metric": "fraction_lost"}
    assert "in fraction lost, `sparse` was 4.1 points lower than `unlocked`" in finding(row, LOCK, EN)


def test_no_variance_takes_the_exact_test_and_says_so():
    row = ROW | {"lower": math.nan, "upper": math.nan, "p_source": "sign-flip", "holm_p": 0.0312}
    text = finding(row, LOCK, EN)
    assert "the same in all blocks, so no interval" in text
    assert "p = .031 of the sign-flip test, the larger of test and learning gate" in text


def test_joint_claims():
    row = ROW | {"rule": "all_of", "members": "a b", "contrast": "", "estimand": "", "mean": math.nan}
    row |= {"lower": math.nan, "upper": math.nan}
    members = [ROW | {"role": "component", "claim": name} for name in "ab"]
    text = finding(row, None, EN, members)
    assert text.startswith("Shown: all 2 of its members hold (`a`, `b`; 6 blocks")
    with pytest.raises(UserError, match="covers 0"):
        finding(row, None, EN, [members[0], members[1] | {"upper": 0.01}])
    failed = row | {"verdict": "not distinguished", "failed_members": "b"}
    assert "1 of its 2 members are not shown (`b`;" in finding(failed, None, EN, members)
    with pytest.raises(UserError, match="not all of its members"):
        finding(row | {"failed_members": "b"}, None, EN, members)


@pytest.mark.parametrize("verdict", WORDS)
@pytest.mark.parametrize(("words", "scope"), [(EN, "for this checkpoint"), (ZH, "仅就此检查点而言")])
def test_one_base_limits_every_sentence_and_a_demonstration_says_so(verdict, words, scope):
    rows = {"equivalent": ALIKE, "not distinguished": NOT}
    row = rows.get(verdict, ROW) | {"verdict": verdict, "phase": "demonstration"}
    row |= {"gate_passed": "false"} if verdict == "gate failed" else {}
    row |= {"role": "exploratory"} if verdict == "exploratory" else {}
    row |= {"rule": "untested"} if verdict == "not tested" else {}
    row |= {"mean": 0.041, "lower": 0.012, "upper": 0.07} if verdict == "contradicted" else {}
    head = finding(row | {"bases": "one for all blocks"}, LOCK, words).split(":")[0].split("：")[0]
    assert scope in head and words("sentences.phase.demonstration") in head
    assert scope not in finding(row, LOCK, words)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"upper": 0.001}, "covers 0"),
        ({"bootstrap_lower": -0.06, "bootstrap_upper": 0.01}, "bootstrap interval of lock covers 0"),
        ({"gate_passed": "false"}, "learning gate"),
        ({"gate_passed": ""}, "learning gate"),
        ({"learning_lower": -0.06}, "learning gate"),
        ({"holm_p": 0.05}, "Holm"),
        ({"holm_p": math.nan}, "Holm"),
        ({"gate_p": 0.02}, "below that of its test or of its learning gate"),
        ({"p": 0.02}, "below that of its test or of its learning gate"),
        ({"note": "not defined in 1 of 7 blocks"}, "not defined in every block"),
        ({"verdict": "gate failed"}, "its learning gate is passed"),
        ({"verdict": "equivalent", **MARGIN, "gate_p": 0.01}, "p of its learning gate is not below 0.00625"),
        ({"sign_flip_p": 0.0625}, "sign-flip"),
        ({"exact_reaches_level": "false"}, "too few"),
        ({"n": 5}, "too few"),
        ({"direction": "more"}, "other sign"),
        ({"role": "exploratory"}, "role is exploratory"),
        ({"role": "component"}, "role is component"),
        ({"rule": "untested"}, "rule is untested"),
        ({"verdict": "not tested"}, "rule is superiority"),
        ({"rule": "equivalence"}, "margin"),
        ({"lower": math.nan, "upper": math.nan}, "no interval"),
        ({"verdict": "proven"}, "no verdict"),
        ({"verdict": "equivalent"}, "no margin"),
        ({"verdict": "equivalent", **MARGIN, "tost_p": 0.01}, "TOST p is not below 0.00625"),
        ({"verdict": "equivalent", **MARGIN, "tost_p": math.nan}, "TOST"),
        ({"verdict": "equivalent", **MARGIN, "equivalence_upper": 0.06}, "passes the margin"),
        ({"verdict": "equivalent", **MARGIN, "learning_upper": 0.06}, "learning gate"),
        ({"verdict": "not distinguished", "gate_passed": "false"}, "learning gate"),
    ],
)
def test_a_verdict_that_its_row_does_not_carry_is_refused(changed, why):
    with pytest.raises(UserError, match=f"claims.csv: claim 'lock_less': .*{why}.*delete it and run again"):
        finding(ROW | changed, LOCK, EN)


def judgements():
    """Rows of many made-up studies: any effect, spread, learning, number of blocks and of bases, any phase."""
    rng = np.random.default_rng(1)
    for _ in range(120):
        n = int(rng.choice([1, 3, 5, 6, 8, 10]))
        blocks = [str(b + 1) for b in range(n)]
        shared = int(rng.choice([1, 2, n]))
        bases = {block: str(i // shared) for i, block in enumerate(blocks)}
        phase = str(rng.choice(["demonstration", "pilot", "confirmatory"]))
        yield made_up.judged(n, bases, phase, bool(rng.integers(2)), rng)


@pytest.fixture(scope="module")
def studies():
    return list(judgements())


CONTRASTS = {contrast["name"]: contrast for contrast in made_up.CONTRASTS}


def spoken(rows, row, words):
    named = {other["claim"]: other for other in rows}
    members = [named[name] for name in str(row["members"]).split()]
    return finding(row, CONTRASTS.get(row["contrast"]), words, members)


def test_what_the_judge_gives_can_always_be_said(studies):
    """The guard and the judge are written apart, and agree."""
    found = set()
    for rows in studies:
        for row in rows:
            if row["role"] != "component":
                head = spoken(rows, row, EN)
                assert head.startswith(EN.name("verdicts", row["verdict"]))
                assert EN.name("verdicts", row["verdict"]) and ZH.name("verdicts", row["verdict"]) in spoken(
                    rows, row, ZH
                )
                assert ("for this checkpoint" in head) == (row["bases"] == "one for all blocks")
                found.add(row["verdict"])
    assert found == set(WORDS)


@pytest.mark.parametrize("verdict", WORDS)
def test_no_word_goes_beyond_its_numbers(studies, verdict):
    """Every verdict put on every row: it is said only where the numbers of the row carry it."""
    said = refused = 0
    for rows in studies:
        for row in rows:
            if row["role"] == "component" or row["rule"] in ("all_of", "untested"):
                continue
            try:
                text = spoken(rows, row | {"verdict": verdict}, EN)
            except UserError:
                refused += 1
                continue
            said += 1
            size = f"{100 * abs(row['mean']):.1f} points"
            gated = row["estimand"] != "level"
            if gated and row["gate_passed"] == "false":
                assert verdict in ("descriptive", "exploratory", "gate failed", "not tested")
                assert f"forgot {size}" not in text and f"was {size}" not in text
            if verdict in ("shown", "contradicted") and row["rule"] == "superiority":
                assert not row["lower"] <= 0 <= row["upper"] and row["holm_p"] < 0.05 and row["n"] >= 6
                toward = row["mean"] * (-1 if row["direction"] == "less" else 1) > 0
                assert toward == (verdict == "shown")
            if verdict == "equivalent":
                assert row["tost_p"] < 0.05 / row["tests"]
                assert -row["claim_margin"] < row["mean"] < row["claim_margin"]
    assert bool(said) == (verdict != "not tested")
    assert refused or verdict in ("descriptive", "exploratory")
