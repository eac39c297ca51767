"""Markov languages that drift away from language 0, with a known floor and ceiling.

A language is a transition matrix over an alphabet. Every row gives 0.9 to one successor and divides the rest by a flat
Dirichlet draw, so the best next-token accuracy (Bayes) is 0.9, well above chance. Language k copies a share
`similarity` of its rows from language 0; the others come from a matrix of its own. Whole rows are copied: averaging two
rows entry by entry would halve their peaks and the Bayes accuracy. The base reads language 0.

Floor of the loss: H = sum_i pi_i H(P_i) nats per token, pi the stationary distribution (facts.entropy). Ceiling: sum_i
pi_i max_j P_ij. Chance: max_i pi_i. Sequences start in pi and their first token is not counted, so both are exact
expectations at every counted position.

Test sequences are drawn first; training and validation redraw sequences that the test holds, so that the test stays an
unbiased sample. Limits: symbols must be single tokens, so the base's tokenizer must know the generated vocabulary; base
and stream sample independently, and only the names of languages differ.
"""

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.streams import lexicon
from sparse_continual.streams.settings import filled
from sparse_continual.streams.source import Source

PEAK = 0.9
BAYES = 0.85

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "tasks": {"type": "integer", "minimum": 1, "default": 6, "description": "Languages; a base has one."},
        "similarity": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.5,
            "description": "Share of a language's transition rows that are language 0's.",
        },
        "alphabet": {
            "type": "integer",
            "minimum": 4,
            "maximum": 64,
            "default": 32,
            "description": "Symbols.",
        },
        "sequence_length": {
            "type": "integer",
            "minimum": 8,
            "default": 48,
            "description": "Symbols of a row, without the start token.",
        },
        "train_sequences": {
            "type": "integer",
            "minimum": 1,
            "default": 1000,
            "description": "Rows per task.",
        },
        "validation_sequences": {
            "type": "integer",
            "minimum": 1,
            "default": 50,
            "description": "Rows per task.",
        },
        "test_sequences": {"type": "integer", "minimum": 1, "default": 100, "description": "Rows per task."},
    },
}


def task_names(settings: dict) -> list[str]:
    return [f"language_{k}" for k in range(1, filled(SCHEMA, settings)["tasks"] + 1)]


def sizes(settings: dict, role: str = "stream") -> dict:
    settings = filled(SCHEMA, settings)
    return {
        "train_items": settings["train_sequences"],
        "row_tokens": settings["sequence_length"] + 1,
        "test_items": settings["test_sequences"],
        "answer_tokens": settings["sequence_length"] - 1,
    }


def build(settings: dict, seed: int, tokenizer, role: str = "stream") -> list:
    from sparse_continual.streams.encode import Encoder

    settings, encoder = filled(SCHEMA, settings), Encoder(tokenizer, settings)
    symbols = _symbols(encoder, settings["alphabet"])
    if role == "base":
        names = {0: "base"}
    else:
        names = dict(enumerate(task_names(settings), 1))
    return [
        _task(name, settings, language(settings, seed, k), symbols, encoder.bos, seed_of("drift", seed, k))
        for k, name in names.items()
    ]


def language(settings: dict, seed: int, k: int) -> np.ndarray:
    """Transition matrix float64[alphabet, alphabet] of language `k`; rows sum to one."""
    count = settings["alphabet"]
    base = _matrix(count, seed_of("language", seed, 0))
    if k == 0:
        return base
    matrix = _matrix(count, seed_of("language", seed, k))
    shared = np.random.default_rng(seed_of("language rows", seed, k)).permutation(count)
    shared = shared[: round(settings["similarity"] * count)]
    matrix[shared] = base[shared]
    return matrix


def stationary(matrix: np.ndarray) -> np.ndarray:
    """The distribution pi with pi P = pi, float64[alphabet]; unique, because no entry is zero."""
    count = len(matrix)
    system = np.vstack([matrix.T - np.eye(count), np.ones(count)])
    return np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0]


def entropy(matrix: np.ndarray) -> float:
    """Entropy rate in nats per token, sum_i pi_i H(P_i)."""
    return float(stationary(matrix) @ -(matrix * np.log(np.maximum(matrix, 1e-300))).sum(1))


def bayes(matrix: np.ndarray) -> float:
    """Accuracy of the best next-token guess, sum_i pi_i max_j P_ij."""
    return float(stationary(matrix) @ matrix.max(1))


def sample(matrix: np.ndarray, rows: int, length: int, rng) -> np.ndarray:
    """int64[rows, length]: sequences that start in the stationary distribution."""
    cumulative = np.cumsum(matrix, 1)
    cumulative[:, -1] = 1.0
    start = np.cumsum(stationary(matrix))
    start[-1] = 1.0
    states = np.empty((rows, length), np.int64)
    states[:, 0] = np.searchsorted(start, rng.random(rows), side="right")
    for t in range(1, length):
        states[:, t] = (cumulative[states[:, t - 1]] <= rng.random((rows, 1))).sum(1)
    return states


def _matrix(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.zeros((count, count))
    for state, successor in enumerate(rng.permutation(count)):
        others = np.delete(np.arange(count), successor)
        matrix[state, others] = (1 - PEAK) * rng.dirichlet(np.ones(count - 1))
        matrix[state, successor] = PEAK
    return matrix


def _symbols(encoder, count: int) -> np.ndarray:
    """Token ids int64[count] of the alphabet."""
    ids = [encoder.answer(symbol) for symbol in lexicon.SYMBOLS[:count]]
    flat = {one[0] for one in ids if len(one) == 1} - {encoder.tokenizer.unk_token_id}
    if len(flat) < count:
        raise UserError(
            f"drift: the base's tokenizer knows {len(flat)} of {count} symbols as one token; expected all: "
            "use a generated base, or stream source text"
        )
    return np.array(ids).ravel()


def _draw(matrix, rows: int, length: int, rng, used: set) -> np.ndarray:
    """`rows` sequences, none of them in `used`."""
    kept, tries = [], 0
    while len(kept) < rows:
        fresh = sample(matrix, rows, length, rng)
        kept.extend(row for row in fresh if row.tobytes() not in used)
        tries += 1
        if tries > 100:
            raise UserError(
                f"drift: too few sequences of {length} symbols outside the test; raise sequence_length"
            )
    return np.array(kept[:rows])


def _task(name: str, settings: dict, matrix: np.ndarray, symbols: np.ndarray, bos: list[int], seed: int):
    from sparse_continual.streams.tasks import Task, make_split, whole

    ceiling = bayes(matrix)
    if ceiling < BAYES:
        raise AssertionError(f"{name}: Bayes accuracy {ceiling} is below {BAYES}")
    rng = np.random.default_rng(seed)
    used, splits = set(), {}
    for split in ("test", "validation", "train"):
        states = _draw(matrix, settings[f"{split}_sequences"], settings["sequence_length"], rng, used)
        used.update(row.tobytes() for row in states)
        rows = [bos + row.tolist() for row in symbols[states]]
        splits[split] = make_split(rows, [len(bos) + 1] * len(rows))
    facts = {"entropy": entropy(matrix), "bayes": ceiling}
    return Task(name, "tokens", parts=whole(float(stationary(matrix).max()), ceiling), facts=facts, **splits)


SOURCE = Source(task_names=task_names, sizes=sizes, build=build)
