"""Balance of the orders, counted."""

from collections import Counter
from itertools import pairwise

import pytest

from sparse_continual.streams.orders import order, order_of_block


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9])
def test_williams_balance(count):
    tasks = [f"t{i}" for i in range(count)]
    times = 2 if count % 2 and count > 1 else 1
    for turn in range(2):
        rows = [order(tasks, 11, turn * count * times + i + 1) for i in range(count * times)]
        assert all(sorted(row) == tasks for row in rows)
        places = Counter((task, place) for row in rows for place, task in enumerate(row))
        assert set(places.values()) == {times} and len(places) == count**2
        pairs = Counter(pair for row in rows for pair in pairwise(row))
        assert len(pairs) == count * (count - 1) and set(pairs.values()) <= {times}


def test_orders_are_seeded_and_rounds_differ():
    tasks = list("abcdef")
    first = [order(tasks, 3, b) for b in range(1, 7)]
    assert first == [order(list(tasks), 3, b) for b in range(1, 7)]
    assert first != [order(tasks, 4, b) for b in range(1, 7)]
    assert first != [order(tasks, 3, b) for b in range(7, 13)]


def test_tuning_blocks_have_orders_of_their_own():
    tasks = list("abcdefgh")
    assert order_of_block(tasks, 3, "2") == order(tasks, 3, 2)
    assert [order_of_block(tasks, 3, f"tuning-{b}") for b in (1, 2)] != [order(tasks, 3, b) for b in (1, 2)]
