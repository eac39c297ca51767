"""Balanced task orders: Williams squares, drawn before any run.

Within one round of T blocks (2T for odd T) every task is once (twice) at every position and follows every other task
once (twice). Each round has its own random naming of the tasks and its own order of the square's rows, so a study that
stops within a round is a random part of a balanced one. A block's order depends only on (tasks, seed, number): adding
blocks changes none before.

Source: Williams, E. J. (1949), Australian Journal of Scientific Research A 2, 149-168.
"""

import numpy as np

from sparse_continual.identity import seed_of

TUNING, PILOT = "tuning-", "pilot-"  # prefixes of blocks with orders and seeds of their own


def williams(count: int) -> np.ndarray:
    """int64[rows, count]: the Williams square on 0..count-1; count rows, twice as many for odd count > 1."""
    zigzag = np.array([(i + 1) // 2 if i % 2 else (count - i // 2) % count for i in range(count)])
    square = (zigzag + np.arange(count)[:, None]) % count
    return np.concatenate([square, square[:, ::-1]]) if count % 2 and count > 1 else square


def order(tasks: list[str], seed: int, block_number: int) -> list[str]:
    """The tasks in the order of block `block_number` (counted from 1)."""
    square = williams(len(tasks))
    turn, row = divmod(block_number - 1, len(square))
    rng = np.random.default_rng(seed_of("order", seed, turn))
    naming, rows = rng.permutation(len(tasks)), rng.permutation(len(square))
    return [tasks[i] for i in naming[square[rows[row]]]]


def order_of_block(tasks: list[str], seed: int, block: str) -> list[str]:
    """The order of a block by its label: "3", or "tuning-1" and "pilot-1", whose orders are drawn apart."""
    for apart in (TUNING, PILOT):
        if block.startswith(apart):
            return order(tasks, seed_of(f"{apart[:-1]} orders", seed), int(block.removeprefix(apart)))
    return order(tasks, seed, int(block))
