"""One sentence per verdict, against rows written by hand."""

import math

import pytest

from sparse_continual.report.sentences import claim, details, final, p_text

ROW = {
    "contrast": "lock",
    "family": "primary",
    "plus": "sparse",
    "minus": "unlocked",
    "metric": "forgetting",
    "role": "primary",
    "n": 6,
    "mean": -0.041,
    "lower": -0.070,
    "upper": -0.012,
    "holm_p": 0.0101,
    "p_source": "t",
    "tests": 8,
    "sign_flip_p": 0.03125,
    "sign_flip_holm_p": 0.25,
    "sign_flip_smallest": 0.03125,
    "exact_reaches_holm": "false",
    "detectable": 0.031,
    "corrected_mean": -0.05,
    "learning_difference": -0.003,
    "learning_lower": -0.021,
    "gate_passed": True,
    "level": 0.05,
    "margin": 0.05,
    "bases": "one per block",
    "verdict": "shown",
}


def test_shown():
    assert claim(ROW) == (
        "Shown: `sparse` forgot 4.1 points less than `unlocked` (95 % interval 1.2 to 7.0 less; 6 blocks,"
        " each with its own base; Holm-adjusted p = .010, 8 tests in the family), while learning at most 5"
        " points less."
    )
    assert details(ROW) == (
        "The exact sign-flip test agrees unadjusted (p = .031); it cannot reach the level adjusted for 8"
        " tests with 6 blocks. Learning gate passed: the difference in learning is −0.3 points, its"
        " one-sided 95 % bound −2.1. It also learnt 0.3 points less, which alone can lower forgetting by as"
        " much. Chance-corrected difference: −5.0 points."
    )


def test_shown_where_the_exact_test_reaches_the_adjusted_level():
    row = ROW | {"n": 10, "exact_reaches_holm": "true", "sign_flip_holm_p": 0.0156}
    assert "The exact sign-flip test, adjusted alike, agrees (p = .016)." in details(row)


def test_more_forgetting_names_its_direction_and_more_learning():
    row = ROW | {"mean": 0.041, "lower": 0.012, "upper": 0.07, "learning_difference": 0.09}
    assert "forgot 4.1 points more than `unlocked` (95 % interval 1.2 to 7.0 more;" in claim(row)
    assert "It also learnt 9.0 points more, which alone can raise forgetting." in details(row)


def test_not_distinguished():
    row = ROW | {"verdict": "not distinguished", "mean": 0.01, "lower": -0.02, "upper": 0.04, "holm_p": 0.4}
    text = claim(row)
    assert text.startswith("Not distinguished at this n: `sparse` forgot 1.0 points more than `unlocked`")
    assert "95 % interval from 2.0 less to 4.0 more" in text and text.endswith("no evidence of equality.")
    assert "True differences below about 3.1 points would probably have been missed (power .8)." in details(
        row
    )
    assert "sign-flip" not in details(row)


def test_disagreement_of_the_exact_test_is_said():
    row = ROW | {"verdict": "not distinguished", "sign_flip_p": 0.0625}
    assert "The exact sign-flip test does not agree unadjusted (p = .062)" in details(row)


def test_descriptive():
    row = ROW | {"verdict": "descriptive", "n": 3, "gate_passed": False, "sign_flip_smallest": 0.25}
    assert claim(row).startswith(
        "Descriptive only (3 blocks, each with its own base; the exact test can at best reach p = .250,"
        " and the level is .05): in what was run,"
    )
    assert "Holm" not in claim(row)
    assert "It is not shown that `sparse` learnt at most 5 points less than `unlocked`." in details(row)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"level": 0.01}, "at best reach p = .031, and the level is .01"),
        ({"n": 5, "level": 0.1, "sign_flip_smallest": 0.0625}, "there are fewer than 6 blocks"),
    ],
)
def test_why_it_is_descriptive(changed, words):
    assert words in claim(ROW | {"verdict": "descriptive"} | changed)


@pytest.mark.parametrize("verdict", ["shown", "not distinguished", "descriptive"])
def test_less_learning_is_told_beside_less_forgetting(verdict):
    words = "learnt 2.0 points less, which alone can lower forgetting by as much"
    row = ROW | {"verdict": verdict, "learning_difference": -0.02}
    assert words in details(row)
    assert words not in details(row | {"mean": 0.041}) + details(row | {"metric": "forward_transfer"})
    both = details(row | {"plus": "sparse_lora + dense", "minus": "sparse + dense_lora"})
    assert "The same difference of differences in learning is 2.0 points lower" in both


def test_final_accuracy_stands_beside():
    assert final(ROW | {"metric": "average_accuracy"}) == (
        "Difference in average accuracy at the end: −4.1 points (95 % interval −7.0 to −1.2; not tested)."
    )


def test_one_block():
    row = ROW | {"verdict": "descriptive", "n": 1, "lower": math.nan, "upper": math.nan}
    assert "(1 block;" in claim(row) and "(no interval)" in claim(row)


def test_gate_failed_says_nothing_about_forgetting():
    row = ROW | {"verdict": "gate failed", "learning_difference": -0.071, "learning_lower": -0.09}
    assert claim(row) == (
        "Gate failed: no statement about forgetting is made, since it is not shown that `sparse` learnt at"
        " most 5 points less than `unlocked`: the difference in learning is 7.1 points less, and by the"
        " one-sided 95 % bound may be 9.0 points less (6 blocks, each with its own base)."
    )
    assert "4.1" not in claim(row) and details(row) == ""


@pytest.mark.parametrize("verdict", ["shown", "not distinguished", "descriptive", "gate failed"])
def test_one_base_limits_every_sentence(verdict):
    text = claim(ROW | {"verdict": verdict, "bases": "one for all blocks"})
    assert "for this checkpoint" in text.split(":")[0] and "6 blocks from one base" in text


def test_forward_transfer_and_interaction():
    row = ROW | {"metric": "forward_transfer", "mean": 0.013, "lower": 0.002, "upper": 0.024}
    assert "`sparse` had 1.3 points more forward transfer than `unlocked`" in claim(row)
    row = ROW | {"plus": "sparse_lora + dense", "minus": "sparse + dense_lora"}
    text = claim(row)
    assert (
        "in forgetting, the difference `sparse_lora` − `sparse` was 4.1 points lower than the difference"
        " `dense_lora` −"
        " `dense` (95 % interval 1.2 to 7.0 lower;" in text
    )
    assert text.endswith("while the same difference in learning is above −5 points.")


def test_no_variance_takes_the_exact_test_and_says_so():
    row = ROW | {"lower": math.nan, "upper": math.nan, "p_source": "sign-flip", "holm_p": 0.0312}
    assert "the same in all blocks, so no interval" in claim(row)
    assert "p = .031 of the exact sign-flip test" in claim(row)


def test_an_unknown_verdict_is_a_fault():
    with pytest.raises(KeyError):
        claim(ROW | {"verdict": "proven"})


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p < .001"), (0.0312, "p = .031"), (1.0, "p = 1"), (0.9999, "p = 1")]
)
def test_p_text(p, text):
    assert p_text(p) == text
