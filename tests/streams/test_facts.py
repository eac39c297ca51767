"""People: never shared; employers' map: always shared."""

import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from sparse_continual.errors import UserError
from sparse_continual.streams import lexicon
from sparse_continual.streams.sources import facts

SETTINGS = {"tasks": 3, "people": 40, "employers": 8}


def sentences(task, tokenizer):
    for split in (task.train, task.validation, task.test):
        for i in range(split.rows):
            yield tokenizer.convert_ids_to_tokens(split.row(i).tolist())[1:]


def people(task, tokenizer):
    return {
        (first, last)
        for row in sentences(task, tokenizer)
        for first, last in pairwise(row)
        if first in lexicon.FIRST and last in lexicon.LAST
    }


def seats(task, tokenizer):
    """Employer -> cities and trades that the task says of it."""
    found = {}
    for row in sentences(task, tokenizer):
        for employer in set(row) & set(lexicon.EMPLOYERS):
            found.setdefault(employer, set()).add(row[-1])
    return found


def test_people_apart_and_map_shared(words):
    tasks = facts.build(SETTINGS, 5, words) + facts.build(
        {"people": 60, "employers": 8}, 5, words, role="base"
    )
    groups = [people(task, words) for task in tasks]
    assert [len(group) for group in groups] == [40, 40, 40, 60]
    assert len(set().union(*groups)) == 180
    merged = {}
    for task in tasks:
        told = seats(task, words)
        assert len(told) == 8
        for employer, values in told.items():
            assert (
                len(values & set(lexicon.CITIES)) == len(values & set(lexicon.TRADES)) == 1
                and len(values) == 2
            )
            assert merged.setdefault(employer, values) == values
    uses = Counter(value for values in merged.values() for value in values)
    assert max(uses.values()) <= 2  # 48 employers, 24 cities and trades
    assert seats(facts.build(SETTINGS, 6, words)[0], words) != seats(tasks[0], words)


def test_the_first_tasks_do_not_depend_on_how_many_follow(words):
    few, many = facts.build({**SETTINGS, "tasks": 1}, 5, words), facts.build(SETTINGS, 5, words)
    assert few[0].train.tokens.tobytes() == many[0].train.tokens.tobytes()


def test_parts_chance_and_load(words):
    (task, *_) = facts.build(SETTINGS, 5, words)
    assert (task.test.parts == 1).mean() == pytest.approx(2 / 5)
    assert task.chance == pytest.approx((3 / 20 + 2 / 24) / 5)
    assert task.facts["load_bits"] == pytest.approx(40 * 3 * math.log2(20))
    assert len(task.train) == 40 * 5 * 3 and len(task.test) == len(task.validation) == 40 * 5


def test_base_tests_people_whose_test_wording_it_never_read(words):
    (base,) = facts.build({"people": 60}, 5, words, role="base")
    assert len(base.train) == 5 * (45 * 5 + 15 * 3) and len(base.test) == 5 * 15


def test_too_many_people():
    facts.check({"tasks": 6, "people": 256})
    with pytest.raises(UserError, match="6 tasks of 257 people need 1542 names, but there are 1536"):
        facts.check({"tasks": 6, "people": 257})
    with pytest.raises(UserError, match="base of 769 people .* there are 768"):
        facts.check({"people": 769}, role="base")


TEXTS = [
    " ".join(lexicon.vocabulary()),
    "",
    "nobody feeds  Ada",
    "a<s>b </s>never<unk> <pad>",
    "a\u00a0b\x1dc\u2003s1\n?",
]


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_encoded_as_the_saved_tokenizer_does(text, words):
    thin = lexicon.words()
    assert thin([text, "a"])["input_ids"] == words([text, "a"], add_special_tokens=False)["input_ids"]
    assert (thin.bos_token_id, thin.unk_token_id) == (words.bos_token_id, words.unk_token_id)


def test_building_a_generated_stream_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "from sparse_continual.streams.build import build_stream\n"
        "from sparse_continual.streams.lexicon import words\n"
        f"build_stream({{'source': 'facts', **{SETTINGS}}}, 1, words(), {str(tmp_path)!r})\n"
        "print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_lexicon_has_no_word_twice(words):
    assert len(set(lexicon.vocabulary())) == len(lexicon.vocabulary()) == len(words)
    assert (len(lexicon.FIRST), len(lexicon.LAST), len(lexicon.EMPLOYERS)) == (48, 48, 48)
    assert words("Ada plays xyz", add_special_tokens=False)["input_ids"][2] == words.unk_token_id
