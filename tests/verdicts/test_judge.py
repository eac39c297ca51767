"""From differences to words, against scipy and statsmodels on the same numbers."""

import time

import numpy as np
import pytest
from made_claims import all_of, claim, contrast, samples, settings
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from sparse_continual.errors import UserError
from sparse_continual.statistics.gate import KEEPS_MORE, UNGATED
from sparse_continual.statistics.metrics import METRICS
from sparse_continual.verdicts.judge import judge
from sparse_continual.verdicts.tables import CLAIMS
from sparse_continual.verdicts.verdict import WORDS

WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.005, -0.005, 0.012, -0.012, 0.003, -0.003])
STRONG = ("shown", "contradicted", "equivalent")


def one(values, learning=0.0, changes=None, **more):
    """The row of a single claim of less forgetting."""
    metric = more.get("metric", "forgetting")
    given = settings(len(values), **(changes or {}))
    return judge([claim("c", **more)], samples(values, learning, metric=metric), given)[0]


def test_a_plain_effect_in_either_direction():
    row = one(-0.1 + WOBBLE)
    assert list(row) == CLAIMS.names
    assert row["verdict"] == "shown" and row["unit"] == "block" and row["n"] == 10
    assert (row["tests"], row["bases"], row["gate_side"]) == (1, "one per block", "plus")
    assert one(0.1 + WOBBLE)["verdict"] == "contradicted"
    assert one(0.1 + WOBBLE, direction="more")["verdict"] == "shown"
    assert one(WOBBLE)["verdict"] == "not distinguished"


def test_numbers_are_those_of_scipy_and_statsmodels():
    d = WOBBLE - 0.008
    row = one(d, margin=0.02, learning=WOBBLE)
    test = stats.ttest_1samp(d, 0)
    assert row["p"] == pytest.approx(test.pvalue) and row["p_source"] == "t"
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert row["sign_flip_p"] == pytest.approx(
        stats.permutation_test(
            (d, np.zeros(10)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
        ).pvalue
    )
    assert row["tost_p"] == pytest.approx(ttost_paired(d, np.zeros(10), -0.02, 0.02)[0])
    bound = stats.ttest_1samp(WOBBLE, 0, alternative="greater").confidence_interval(0.95).low
    assert row["learning_lower"] == pytest.approx(bound) and row["learning_upper"] == pytest.approx(-bound)


def test_an_arm_that_learns_less_is_said_to_forget_less_on_neither_side():
    assert one(-0.1 + WOBBLE, learning=-0.2)["verdict"] == "gate failed"
    row = one(0.1 + WOBBLE, learning=0.2)  # the other side learns less, and so forgets less
    assert row["verdict"] == "gate failed"
    assert (row["gate_side"], row["gate_passed"]) == ("minus", "false")
    row = one(0.1 + WOBBLE, learning=0.2, direction="more")
    assert (row["verdict"], row["gate_side"]) == ("gate failed", "minus")
    assert (
        one(0.1 + WOBBLE, learning=-0.2, metric="base_retention", direction="more")["verdict"]
        == "gate failed"
    )
    assert one(-0.1 + WOBBLE, learning=-0.2, metric="forward_transfer")["verdict"] == "gate failed"
    for learning in (-0.2, 0.2):
        row = one(WOBBLE / 10, learning, rule="equivalence", direction=None, margin=0.05)
        assert row["verdict"] == "gate failed"
        assert row["gate_side"] == ("plus" if learning < 0 else "minus")


def test_learning_itself_and_levels_have_no_gate():
    row = one(-0.1 + WOBBLE, -0.1 + WOBBLE, metric="learning_accuracy")
    assert row["verdict"] == "shown" and row["gate_side"] == ""
    level = contrast("x", minus=(), estimand="level")
    row = one(0.1 + WOBBLE, learning=0.5, direction="more", changes={"contrasts": [level]})
    assert row["verdict"] == "shown" and np.isnan(row["learning_lower"])


def test_metrics_of_the_gate_are_metrics():
    assert {*KEEPS_MORE, *UNGATED} <= set(METRICS)


def test_few_blocks_single_blocks_and_no_variance():
    assert one(-0.1 + WOBBLE[:5])["verdict"] == "descriptive"
    row = one([-0.1])
    assert row["verdict"] == "descriptive" and "single block" in row["note"] and np.isnan(row["lower"])
    row = one([-0.1] * 10)
    assert (row["verdict"], row["p_source"]) == ("shown", "sign-flip")
    assert row["p"] == 2**-9 and np.isnan(row["lower"]) and "no variance" in row["note"]
    row = one([0.0] * 10, margin=0.05)
    assert (row["verdict"], row["p"]) == ("descriptive", 1.0)


def test_the_exact_test_is_not_adjusted():
    names = ("a", "b", "c")
    contrasts = [contrast(name) for name in names]
    given = {}
    for name in names:
        given |= samples(-0.1 + WOBBLE[:6], contrast=name)
    rows = judge([claim(name, name) for name in names], given, settings(6, contrasts=contrasts))
    assert {row["verdict"] for row in rows} == {"shown"}
    assert rows[0]["exact_reaches_level"] == "true" and rows[0]["sign_flip_p"] == 1 / 32


def test_the_base_is_the_unit_where_blocks_share_bases():
    values = np.repeat([-0.1, 0.1, -0.1, -0.12, 0.1, -0.11], 2) + np.tile([0.01, -0.01], 6)
    bases = {str(b): str((b - 1) // 2) for b in range(1, 13)}
    row = one(values, changes={"bases": bases})
    assert (row["unit"], row["n"]) == ("base", 6)
    assert row["p"] == pytest.approx(stats.ttest_1samp(values.reshape(6, 2).mean(1), 0).pvalue)
    row = one(values, changes={"bases": dict.fromkeys(bases, "published")})
    assert (row["unit"], row["n"], row["bases"]) == ("block", 12, "one for all blocks")


def test_blocks_without_a_value_are_counted():
    given = samples(-0.1 + WOBBLE)
    del given["people", "x", "forgetting"]["3"]
    row = judge([claim("c")], given, settings())[0]
    assert row["n"] == 9 and row["note"] == "not defined in 1 of 10 blocks"
    assert row["verdict"] == "descriptive" and row["p"] < 0.001
    with pytest.raises(
        UserError, match="c: no difference of intransigence between the arms of x in stream people"
    ):
        judge([claim("c", metric="intransigence")], given, settings())


def test_noninferiority_is_held_against_its_margin():
    test = {"rule": "noninferiority", "margin": 0.03, "metric": "forward_transfer", "direction": "more"}
    row = one(WOBBLE, **test)
    assert row["verdict"] == "shown"
    assert row["p"] == pytest.approx(stats.ttest_1samp(WOBBLE, -0.03).pvalue)
    assert row["lower"] > -0.03
    assert one(-0.03 + WOBBLE, **test)["verdict"] == "not distinguished"
    assert one(-0.1 + WOBBLE, **test)["verdict"] == "contradicted"
    less = {"rule": "noninferiority", "margin": 0.03}
    assert one(WOBBLE, **less)["verdict"] == "shown"
    assert one(0.1 + WOBBLE, **less)["verdict"] == "contradicted"


def test_equivalence_needs_both_one_sided_tests_at_the_level_over_all_claims():
    test = {"rule": "equivalence", "direction": None, "margin": 0.02}
    row = one(WOBBLE / 2, **test)
    assert row["verdict"] == "equivalent" and row["holm_p"] == row["tost_p"]
    assert one(WOBBLE / 2 + 0.018, **test)["verdict"] == "not distinguished"
    assert one(WOBBLE / 2 + 0.1, **test)["verdict"] == "contradicted"
    # one claim of ten: the same numbers no longer carry the word
    d = WOBBLE * 1.7
    p = ttost_paired(d, np.zeros(10), -0.02, 0.02)[0]
    assert 0.05 / 10 < p < 0.05
    claims = [claim("c", **test), *(claim(f"other {i}") for i in range(9))]
    assert one(d, **test)["verdict"] == "equivalent"
    assert judge(claims, samples(d), settings())[0]["verdict"] == "not distinguished"


def joint(members, **changes):
    """The rows of an all_of claim over contrasts m0, m1, ..., one per list of differences, by claim."""
    names = [f"m{i}" for i in range(len(members))]
    given = {}
    for name, values in zip(names, members, strict=True):
        given |= samples(values, contrast=name)
    claims = [claim(name, name, role="component") for name in names] + [all_of("all", *names)]
    rows = judge(claims, given, settings(contrasts=[contrast(name) for name in names], **changes))
    return {row["claim"]: row for row in rows}


def test_an_intersection_union_is_as_strong_as_its_weakest_member():
    rows = joint([-0.1 + WOBBLE, -0.03 + WOBBLE, -0.2 + WOBBLE])
    weakest = max(rows[name]["p"] for name in ("m0", "m1", "m2"))
    assert rows["all"]["p"] == rows["all"]["holm_p"] == weakest and rows["all"]["tests"] == 1
    assert {row["verdict"] for row in rows.values()} == {"shown"}
    assert rows["m0"]["holm_p"] == weakest
    rows = joint([-0.1 + WOBBLE, WOBBLE, -0.2 + WOBBLE])
    assert rows["all"]["verdict"] == "not distinguished" and rows["all"]["failed_members"] == "m1"
    assert [rows[f"m{i}"]["verdict"] for i in range(3)] == ["exploratory", "not distinguished", "exploratory"]
    rows = joint([-0.1 + WOBBLE, 0.1 + WOBBLE])
    assert (rows["all"]["p"], rows["all"]["failed_members"]) == (1.0, "m1")
    assert {row["verdict"] for row in joint([0.1 + WOBBLE] * 2).values()} == {"contradicted"}


def test_exploratory_unregistered_pilot_and_stale():
    values = -0.1 + WOBBLE
    assert one(values, role="exploratory")["verdict"] == "exploratory"
    for phase, registered, word in (
        ("pilot", None, "exploratory"),
        ("confirmatory", None, "exploratory"),
        ("confirmatory", False, "exploratory"),
        ("confirmatory", True, "shown"),
        ("demonstration", False, "shown"),
    ):
        assert one(values, changes={"phase": phase, "registered": registered})["verdict"] == word
    row = one(values, changes={"stale": ["c"]})
    assert row["verdict"] == "exploratory" and np.isnan(row["holm_p"])
    assert joint([values] * 2, stale=["m1"])["all"]["verdict"] == "exploratory"


def test_a_claim_that_became_exploratory_still_counts_for_the_others():
    claims = [claim("a"), claim("b", direction="more")]
    row = judge(claims, samples(-0.1 + WOBBLE), settings(stale=["b"]))[0]
    assert row["tests"] == 2 and row["holm_p"] == pytest.approx(2 * row["p"])


def test_an_untested_claim_has_no_numbers():
    untested = {"name": "u", "rule": "untested", "role": "confirmatory", "figure": "forest"}
    rows = judge([untested, claim("c")], samples(WOBBLE), settings())
    assert rows[0]["verdict"] == "not tested" and np.isnan(rows[0]["p"]) and rows[1]["tests"] == 1


def test_skew_and_collapse_call_for_the_bootstrap():
    plain = one(-0.1 + WOBBLE)
    assert np.isnan(plain["bootstrap_lower"])
    row = one(-0.1 + WOBBLE, changes={"collapsed": {("people", "dense"): {"2"}}})
    assert row["verdict"] == "shown" and row["bootstrap_upper"] < 0
    d = -0.02 + np.r_[WOBBLE[:9], -0.3]
    assert abs(stats.skew(d)) > 1 and not np.isnan(one(d)["bootstrap_lower"])


def random_study(rng):
    """Claims and differences of any kind, with what scipy says of each claim's own units."""
    n = int(rng.integers(3, 13))
    per_base = int(rng.choice([1, 1, 1, 2]))
    bases = {str(b): str((b - 1) // per_base) for b in range(1, n + 1)}
    names = [f"x{i}" for i in range(5)]
    given = {}
    for name in names:
        scale = rng.choice([0.01, 0.03])
        noise = rng.standard_normal(n) if rng.random() < 0.7 else rng.exponential(size=n) - 1
        values = rng.choice([-0.1, -0.03, 0, 0, 0.03]) + scale * noise
        if rng.random() < 0.15:
            values = np.round(values, 1)
        learning = rng.choice([-0.1, -0.03, 0, 0.1]) + 0.02 * rng.standard_normal(n)
        given |= samples(values, learning, contrast=name)
    claims = [
        claim("m0", "x0", role="component", margin=0.05),
        claim("m1", "x1", role="component", margin=0.05),
    ]
    claims += [
        all_of("all", "m0", "m1"),
        claim("less", "x2", margin=0.05),
        claim("more", "x3", direction="more"),
    ]
    rule = str(rng.choice(["equivalence", "noninferiority", "superiority"]))
    claims += [claim("last", "x4", rule=rule, margin=0.05), claim("mine", "x2", role="exploratory")]
    return claims, given, settings(n, bases=bases, contrasts=[contrast(name) for name in names])


def units(values, bases):
    if 1 < len(set(bases.values())) < len(bases):
        return np.array(
            [
                np.mean([v for b, v in values.items() if bases[b] == base])
                for base in dict.fromkeys(bases.values())
            ]
        )
    return np.array(list(values.values()))


def reach(d, quantile):
    """Mean and so many standard errors to either side."""
    half = stats.t.ppf(quantile, len(d) - 1) * np.std(d, ddof=1) / np.sqrt(len(d))
    return d.mean() - half, d.mean() + half


def test_words_say_no_more_than_the_numbers():
    rng = np.random.default_rng(3)
    seen = set()
    for number in range(120):
        claims, given, rules = random_study(rng)
        rows = {row["claim"]: row for row in judge(claims, given, rules)}
        tests = 4
        for made in claims:
            row = rows[made["name"]]
            seen.add(row["verdict"])
            assert row["verdict"] in WORDS
            if made["rule"] == "all_of":
                members = [rows[name] for name in made["all_of"]]
                same = len({np.sign(member["mean"]) for member in members}) == 1
                assert row["p"] == (max(member["p"] for member in members) if same else 1.0)
                assert row["verdict"] != "shown" or {member["verdict"] for member in members} == {"shown"}
                continue
            d = units(given["people", made["contrast"], "forgetting"], rules["bases"])
            learning = units(given["people", made["contrast"], "learning_accuracy"], rules["bases"])
            assert row["n"] == len(d)
            if len(d) < 6:
                assert row["verdict"] in ("descriptive", "exploratory")
            if row["verdict"] in STRONG and made["rule"] != "equivalence":
                better = (
                    learning if (row["verdict"] == "shown") == (made["direction"] == "less") else -learning
                )
                for side in [better, -better] if row["verdict"] == "equivalent" else [better]:
                    assert reach(side, 0.95)[0] > -0.05
                    gate = stats.ttest_1samp(side, -0.05, alternative="greater").pvalue
                    least = row["holm_p"] if row["verdict"] != "equivalent" else 0.05 / tests
                    assert np.ptp(side) == 0 or gate <= least + 1e-12
            if row["verdict"] in ("shown", "contradicted") and made["rule"] == "superiority":
                low, high = reach(d, 0.975)
                assert np.ptp(d) == 0 or not low <= 0 <= high
                assert (d.mean() < 0) == ((made["direction"] == "less") == (row["verdict"] == "shown"))
            if row["verdict"] == "equivalent":
                assert ttost_paired(d, 0 * d, -0.05, 0.05)[0] < 0.05 / tests
        if number >= 20:  # statsmodels collects garbage at every call, which takes a while
            continue
        ordinary = [
            rows[c["name"]] for c in claims if c["role"] == "confirmatory" and c["rule"] != "equivalence"
        ]
        padded = [max(row["p"], row["gate_p"]) for row in ordinary] + [1.0] * (tests - len(ordinary))
        holm = multipletests(padded, method="holm")[1][: len(ordinary)]
        assert [row["holm_p"] for row in ordinary] == pytest.approx(list(holm))
    assert seen >= {*STRONG, "not distinguished", "descriptive", "gate failed", "exploratory"}


def test_it_is_fast_enough_to_be_simulated():
    claims, given, rules = random_study(np.random.default_rng(0))
    judge(claims, given, rules)
    start = time.perf_counter()
    for _ in range(50):
        judge(claims, given, rules)
    assert (time.perf_counter() - start) / 50 < 0.03
