"""The words, by rule alone."""

import itertools

import pytest

from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS, WORDS, component, verdict

STRONG = {
    "level": 0.05,
    "n": 10,
    "exact_smallest": 2**-9,
    "complete": True,
    "gate_passed": True,
    "p": 0.001,
    "exact_p": 0.004,
    "bootstrap_agrees": True,
    "toward": True,
    "tost_p": 0.9,
    "tost_level": 0.01,
}


def word(**changes):
    return verdict(**(STRONG | changes))


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, "shown"),
        ({"toward": False}, "contradicted"),
        ({"complete": False}, "descriptive"),
        ({"gate_passed": False}, "gate failed"),
        ({"p": 0.05}, "not distinguished"),
        ({"exact_p": 0.05}, "not distinguished"),
        ({"bootstrap_agrees": False}, "not distinguished"),
        ({"p": 0.3, "tost_p": 0.009}, "equivalent"),
        ({"p": 0.3, "tost_p": 0.01}, "not distinguished"),
        ({"p": 0.3, "tost_p": float("nan")}, "not distinguished"),
        ({"n": 5}, "descriptive"),
        ({"exact_smallest": 0.05}, "descriptive"),
        ({"n": 5, "gate_passed": False}, "descriptive"),
        ({"exploratory": True}, "exploratory"),
        ({"exploratory": True, "n": 2}, "exploratory"),
        ({"rule": "untested", "exploratory": True}, "not tested"),
        ({"rule": "noninferiority"}, "shown"),
        ({"rule": "equivalence"}, "not distinguished"),
        ({"rule": "equivalence", "tost_p": 0.001}, "equivalent"),
        ({"rule": "equivalence", "toward": False}, "contradicted"),
    ],
)
def test_one_word_each(changes, expected):
    assert word(**changes) == expected


def test_every_combination_keeps_the_promises():
    """All corners of the rule: strong words only on all that they need."""
    yes = (True, False)
    rules = ("superiority", "noninferiority", "equivalence", "untested")
    grid = itertools.product((5, MINIMUM_BLOCKS), (0.01, 0.05), yes, yes, (0.04, 0.06), yes, yes, yes, rules)
    found = set()
    for n, smallest, gate, complete, p, bootstrap, toward, exploratory, rule in grid:
        for exact_p, tost_p in itertools.product((0.04, 0.06), (0.001, 0.5)):
            given = word(
                n=n,
                exact_smallest=smallest,
                gate_passed=gate,
                complete=complete,
                p=p,
                exact_p=exact_p,
                bootstrap_agrees=bootstrap,
                toward=toward,
                exploratory=exploratory,
                rule=rule,
                tost_p=tost_p,
            )
            found.add(given)
            if given in ("shown", "contradicted", "equivalent"):
                assert (
                    not exploratory
                    and n >= MINIMUM_BLOCKS
                    and smallest < 0.05
                    and gate
                    and complete
                    and rule != "untested"
                )
            if given == "shown":
                assert p < 0.05 and exact_p < 0.05 and bootstrap and toward and rule != "equivalence"
            if given == "contradicted" and rule != "equivalence":
                assert p < 0.05 and exact_p < 0.05 and bootstrap and not toward
            if given == "equivalent":
                assert tost_p < 0.01
            assert component("shown", given) == "shown"
            assert component("not distinguished", given) not in ("shown", "contradicted", "equivalent")
            assert component("gate failed", given) not in ("shown", "contradicted", "equivalent")
    assert found == set(WORDS)
