"""Small rules on symbols: copy, reverse, sort, modular addition, parity, key lookup.

A row reads `<rule> : <input> = <answer>`; with n = `length` and V = `symbols`:

  rule      input                                  answer                          chance
  copy      n symbols                              the same                        V**-n
  reverse   n symbols                              backwards                       V**-n
  sort      n different symbols                    in the alphabet's order         1 / C(V, n)
  addition  two of 31 numerals                     their sum modulo 31             1 / 31
  parity    2 n of two marks                       first mark: the second occurs   1 / 2
                                                   evenly often, else second mark
  lookup    n pairs of key and value, ?, one key   its value                       1 / (V - V // 2)

Chance is the probability that a guess, uniform over the rule's possible answers, is completely right.
`shared_symbols: true` lets all rules use the same symbols (they compete for them), false gives each its own. In lookup
the first half of the symbols are keys. Items are judged exactly.

Inputs are drawn without repetition, so train, validation and test share none. The base never sees an input of the
stream: small input spaces are permuted and cut (the base takes the first quarter); in larger ones a hash of the input
decides, and each side uses at most half of its inputs, so that drawing them ends. Rows have at most 24 words, start
included.
"""

import hashlib
import math

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.streams import lexicon
from sparse_continual.streams.settings import filled
from sparse_continual.streams.source import Source
from sparse_continual.streams.tasks import SPLITS, Task, merged, whole

MODULUS = 31
SMALL = 2**16  # inputs up to this number are listed and permuted

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "rules": {
            "type": "array",
            "items": {"enum": list(lexicon.RULES)},
            "minItems": 1,
            "uniqueItems": True,
            "default": list(lexicon.RULES),
            "description": "The rules, one task each; a base mixes them.",
        },
        "shared_symbols": {
            "type": "boolean",
            "default": True,
            "description": "Whether all rules use the same symbols (true), or each its own (false).",
        },
        "symbols": {
            "type": "integer",
            "minimum": 8,
            "maximum": 16,
            "default": 16,
            "description": "Number of symbols of a rule.",
        },
        "length": {
            "type": "integer",
            "minimum": 3,
            "maximum": 8,
            "default": 6,
            "description": "Length of an input.",
        },
        "train_items": {"type": "integer", "minimum": 1, "default": 400, "description": "Items per rule."},
        "validation_items": {
            "type": "integer",
            "minimum": 1,
            "default": 100,
            "description": "Items per rule.",
        },
        "test_items": {"type": "integer", "minimum": 1, "default": 200, "description": "Items per rule."},
    },
}


def task_names(settings: dict) -> list[str]:
    return list(filled(SCHEMA, settings)["rules"])


def sizes(settings: dict, role: str = "stream") -> dict:
    settings = filled(SCHEMA, settings)
    n, many = settings["length"], len(settings["rules"]) if role == "base" else 1
    widths = {"addition": (2, 1), "parity": (2 * n, 1), "lookup": (2 * n + 2, 1)}
    pairs = [widths.get(rule, (n, n)) for rule in settings["rules"]]
    return {
        "train_items": many * settings["train_items"],
        "row_tokens": max(4 + question + response for question, response in pairs),
        "test_items": many * settings["test_items"],
        "answer_tokens": max(response for _, response in pairs),
    }


def check(settings: dict, role: str = "stream") -> None:
    settings = filled(SCHEMA, settings)
    needed = sum(settings[f"{split}_items"] for split in SPLITS)
    keys = settings["symbols"] // 2
    if "lookup" in settings["rules"] and settings["length"] > keys:
        raise UserError(
            f"rules: lookup has {keys} keys among {settings['symbols']} symbols, fewer than its length "
            f"{settings['length']}; set symbols to {2 * settings['length']} or length to {keys}"
        )
    for rule in settings["rules"]:
        room = _room(rule, settings, role)
        if needed > room:
            raise UserError(
                f"rules: {rule} needs {needed} different inputs, but has {room} for a {role}; "
                "lower train_items, validation_items or test_items"
                + ("" if rule == "addition" else ", or raise length")
            )


def build(settings: dict, seed: int, tokenizer, role: str = "stream") -> list:
    from sparse_continual.streams.encode import Encoder, exact_split

    check(settings, role)
    settings, encoder = filled(SCHEMA, settings), Encoder(tokenizer, settings)
    tasks = []
    for rule in settings["rules"]:
        items = _items(rule, settings, seed, role)
        splits, first = {}, 0
        for split in SPLITS:
            count = settings[f"{split}_items"]
            splits[split] = exact_split(encoder, *zip(*items[first : first + count], strict=True))
            first += count
        tasks.append(Task(rule, "exact", parts=whole(chance(rule, settings)), **splits))
    return [merged(tasks)] if role == "base" else tasks


def chance(rule: str, settings: dict) -> float:
    """Probability that a guess, uniform over the possible answers, is right."""
    n, many = settings["length"], settings["symbols"]
    return {
        "copy": float(many) ** -n,
        "reverse": float(many) ** -n,
        "sort": 1 / math.comb(many, n),
        "addition": 1 / MODULUS,
        "parity": 0.5,
        "lookup": 1 / (many - many // 2),
    }[rule]


def symbols_of(rule: str, settings: dict) -> tuple[str, ...]:
    """The symbols that `rule` uses, in alphabet order."""
    count = MODULUS if rule == "addition" else settings["symbols"]
    if settings["shared_symbols"]:
        return lexicon.SYMBOLS[:count]
    place = lexicon.RULES.index(rule)
    first = sum(MODULUS if other == "addition" else 16 for other in lexicon.RULES[:place])
    return lexicon.SYMBOLS[first : first + count]


def answer(rule: str, words: list[str], symbols: tuple[str, ...]) -> list[str]:
    """The answer to an input."""
    if rule == "copy":
        return words
    if rule == "reverse":
        return words[::-1]
    if rule == "sort":
        return sorted(words, key=symbols.index)
    if rule == "addition":
        return [symbols[sum(map(symbols.index, words)) % MODULUS]]
    if rule == "parity":
        return [symbols[words.count(symbols[1]) % 2]]
    return [words[words.index(words[-1]) + 1]]


def _space(rule: str, settings: dict) -> int:
    """Number of different inputs."""
    n, many = settings["length"], settings["symbols"]
    keys = many // 2
    return {
        "copy": many**n,
        "reverse": many**n,
        "sort": math.perm(many, n),
        "addition": MODULUS**2,
        "parity": 4**n,
        "lookup": math.perm(keys, n) * (many - keys) ** n * n,
    }[rule]


def _listed(rule: str, settings: dict) -> bool:
    """Whether the rule's inputs are few enough to list them all."""
    return rule not in ("sort", "lookup") and _space(rule, settings) <= SMALL


def _room(rule: str, settings: dict, role: str) -> int:
    """Inputs that a base or a stream may use."""
    space = _space(rule, settings)
    mine = space // 4 if role == "base" else space - space // 4
    return mine if _listed(rule, settings) else mine // 2


def _decode(rule: str, number: int, settings: dict, symbols) -> list[str]:
    """The input number `number` of a rule whose inputs can be listed, as digits."""
    if rule == "addition":
        return [symbols[digit] for digit in divmod(number, MODULUS)]
    width, base = (2 * settings["length"], 2) if rule == "parity" else (settings["length"], len(symbols))
    return [symbols[number // base**place % base] for place in range(width)]


def _draw(rule: str, settings: dict, symbols, rng) -> list[str]:
    """A random input."""
    n = settings["length"]
    if rule == "sort":
        return [symbols[i] for i in rng.permutation(len(symbols))[:n]]
    if rule == "lookup":
        half = len(symbols) // 2
        keys, values = rng.permutation(half)[:n], rng.integers(half, len(symbols), n)
        pairs = [symbols[i] for pair in zip(keys, values, strict=True) for i in pair]
        return [*pairs, "?", symbols[keys[rng.integers(n)]]]
    if rule == "parity":
        return [symbols[i] for i in rng.integers(0, 2, 2 * n)]
    return [symbols[i] for i in rng.integers(0, len(symbols), n)]


def _items(rule: str, settings: dict, seed: int, role: str) -> list[tuple[str, str]]:
    """Different (prompt, answer) pairs, as many as the three splits need, in random order."""
    needed = sum(settings[f"{split}_items"] for split in SPLITS)
    symbols, space = symbols_of(rule, settings), _space(rule, settings)
    if _listed(rule, settings):
        order = np.random.default_rng(seed_of("rules", seed, rule)).permutation(space)
        mine = order[: space // 4] if role == "base" else order[space // 4 :]
        inputs = [_decode(rule, int(number), settings, symbols) for number in mine[:needed]]
    else:
        rng = np.random.default_rng(seed_of("rules", seed, rule, role))
        drawn = {}
        while len(drawn) < needed:
            words = _draw(rule, settings, symbols, rng)
            text = " ".join(words)
            if (hashlib.sha256(f"{seed} {text}".encode()).digest()[0] < 64) == (role == "base"):
                drawn[text] = words
        inputs = list(drawn.values())
    return [(f"{rule} : {' '.join(w)} =", " ".join(answer(rule, w, symbols))) for w in inputs]


SOURCE = Source(task_names=task_names, sizes=sizes, check=check, build=build)
