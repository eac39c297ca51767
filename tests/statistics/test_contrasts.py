"""Which contrasts are refused, and how differences and their units are made."""

import numpy as np
import pytest

from sparse_continual.errors import UserError
from sparse_continual.statistics import contrasts

VALUES = {
    "a": {"1": 0.5, "2": 0.6},
    "b": {"1": 0.1, "2": 0.1},
    "c": {"1": 0.4, "2": 0.3},
    "d": {"1": 0.2, "2": np.nan},
}
GOOD = {"name": "x", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}


def test_differences_of_arms_interactions_and_levels():
    found = contrasts.differences(VALUES, ["a", "b"], ["c", "d"])
    assert found == {"1": pytest.approx(0.0)}  # block 2 has an undefined value
    assert contrasts.differences(VALUES, ["a"], ["c"]) == {"1": pytest.approx(0.1), "2": pytest.approx(0.3)}
    assert contrasts.differences(VALUES, ["a"], []) == VALUES["a"]


def test_unequal_blocks_are_named():
    other = {"1": 0.4, "3": 0.1}
    with pytest.raises(
        UserError, match="a and c were not run on the same blocks: a alone has 2 and c alone has 3"
    ):
        contrasts.differences(VALUES | {"c": other}, ["a"], ["c"])
    with pytest.raises(UserError, match="a and c .*: a alone has 2;"):
        contrasts.differences(VALUES | {"c": {"1": 0.4}}, ["a"], ["c"])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"plus": ["sparce"]}, "x: condition 'sparce'.*sparse"),
        ({"minus": ["sparse"]}, "x: .*twice"),
        ({"plus": ["sparse", "lora"]}, "x: plus has 2 and minus 1"),
        ({"plus": [], "minus": []}, "x: plus has 0 and minus 0"),
        ({"estimand": "sameshape"}, "x: estimand 'sameshape' is unknown.*same_shape"),
        ({"estimand": "level"}, "x: estimand level with 1"),
        ({"minus": []}, "x: estimand same_shape with 0"),
        ({"estimand": "load"}, "x: estimand load without streams"),
        ({"streams": ["few", "many"]}, "x: estimand same_shape with streams"),
        ({"estimand": "load", "streams": ["few", "few"]}, "x: streams is few, few"),
    ],
)
def test_bad_contrasts_are_refused_by_name(change, words):
    with pytest.raises(UserError, match=words):
        contrasts.check([GOOD | change], ["dense", "sparse", "lora"])


def test_good_contrasts_pass_and_a_second_one_of_that_name_does_not():
    level = GOOD | {"name": "l", "minus": [], "estimand": "level"}
    load = GOOD | {"name": "d", "estimand": "load", "streams": ["few", "many"]}
    crossed = {"name": "i", "plus": ["a", "b"], "minus": ["sparse", "dense"], "estimand": "stacking"}
    contrasts.check([GOOD, level, load, crossed], ["dense", "sparse", "a", "b"])
    with pytest.raises(UserError, match="x: the name is used twice"):
        contrasts.check([GOOD, GOOD], ["dense", "sparse"])


def test_the_unit_is_the_base_only_where_some_of_several_are_shared():
    found = {"1": 0.1, "2": 0.3, "3": 0.5}
    values, unit = contrasts.units(found, {"1": "p", "2": "p", "3": "q"})
    assert unit == "base" and values == pytest.approx([0.2, 0.5])
    for bases in ({b: b for b in found}, dict.fromkeys(found, "published")):
        values, unit = contrasts.units(found, bases)
        assert unit == "block" and values == pytest.approx([0.1, 0.3, 0.5])


def test_every_estimand_has_words_and_says_what_its_arms_may_differ_in():
    for name, estimand in contrasts.ESTIMANDS.items():
        assert all((*estimand.en, *estimand.zh)), name
        assert (estimand.differ is None) == (estimand.arms == ""), name
