"""Each answer is right by a computation of the test's own; symbols and inputs apart."""

import math
from collections import Counter

import pytest

from sparse_continual.errors import UserError
from sparse_continual.streams import lexicon
from sparse_continual.streams.sources import rules

SMALL = {"train_items": 100, "validation_items": 20, "test_items": 40}


def rows(task, tokenizer):
    for split in (task.train, task.validation, task.test):
        for i in range(split.rows):
            _, rule, colon, *rest = tokenizer.convert_ids_to_tokens(split.row(i).tolist())
            equals = rest.index("=")
            assert colon == ":" and split.answers[i] == equals + 4
            yield rule, rest[:equals], rest[equals + 1 :]


def number(symbol):
    return int(symbol[1:])


@pytest.mark.parametrize("shared", [True, False])
def test_answers(words, shared):
    used = {}
    for task in rules.build({**SMALL, "shared_symbols": shared}, 2, words):
        for rule, asked, answered in rows(task, words):
            assert rule == task.name
            used.setdefault(rule, set()).update(asked + answered)
            low = min(map(number, rules.symbols_of(rule, {"shared_symbols": shared, "symbols": 16})))
            if rule == "copy":
                assert answered == asked
            elif rule == "reverse":
                assert answered == list(reversed(asked))
            elif rule == "sort":
                assert list(map(number, answered)) == sorted(map(number, asked)) and len(set(asked)) == len(
                    asked
                )
            elif rule == "addition":
                a, b, c = (number(s) - low for s in asked + answered)
                assert (a + b) % 31 == c
            elif rule == "parity":
                assert number(answered[0]) - low == sum(number(s) - low for s in asked) % 2
            else:
                pairs = dict(zip(asked[:-2:2], asked[1:-2:2], strict=True))
                assert len(pairs) == 6 and answered == [pairs[asked[-1]]] and asked[-2] == "?"
    used = {rule: symbols - {"?"} for rule, symbols in used.items()}
    apart = sum(map(len, used.values())) == len(set().union(*used.values()))
    assert apart is not shared and set(used) == set(lexicon.RULES)


def test_longest_rows_fit(words):
    settings = {"length": 8, **SMALL}
    assert rules.sizes(settings)["row_tokens"] <= 24
    assert (
        max(len(task.train.row(0)) for task in rules.build(settings, 1, words))
        == rules.sizes(settings)["row_tokens"]
    )


def test_chance_is_the_share_of_one_possible_answer():
    settings = {"length": 3, "symbols": 8, "shared_symbols": True}
    symbols = rules.symbols_of("copy", settings)
    for rule in ("copy", "reverse", "addition", "parity"):
        space = rules._space(rule, settings)
        own = rules.symbols_of(rule, settings)
        inputs = [rules._decode(rule, i, settings, own) for i in range(space)]
        assert len({tuple(words) for words in inputs}) == space
        answers = Counter(tuple(rules.answer(rule, words, own)) for words in inputs)
        assert set(answers.values()) == {space // len(answers)}
        assert rules.chance(rule, settings) == pytest.approx(1 / len(answers))
    assert rules.chance("sort", settings) == 1 / math.comb(len(symbols), 3)
    assert rules.chance("lookup", settings) == 1 / 4


def test_too_few_inputs_and_keys():
    with pytest.raises(UserError, match="addition needs 1100 different inputs, but has 721 for a stream"):
        rules.check({"rules": ["addition"], "train_items": 1000, "test_items": 50, "validation_items": 50})
    with pytest.raises(
        UserError, match="parity needs 160 different inputs, but has 16 for a base.*raise length"
    ):
        rules.check({**SMALL, "rules": ["parity"], "length": 3}, role="base")
    with pytest.raises(UserError, match="lookup has 4 keys"):
        rules.check({"rules": ["lookup"], "symbols": 8, "length": 5})
