"""Invented people: their instrument, dish and animal, and their employers' city and trade.

*Memory* items (instrument, dish, animal) are drawn per person, so nothing before training can answer them: their
forward transfer is zero by construction, and they measure forgetting. *Relation* items name the employer in the prompt
and ask for its city or trade, a map over 48 employers that a whole world shares, so that one task can help the next.
Two of five items are relations.

Every attribute has five templates of our own: three for training, one for validation, one for test. The base learns
three quarters of its people in all five, so that it can transfer a fact from one wording to another, and is tested on
the rest with the test template.

Load: a task stores people x sum over memory attributes of log2(values) bits (facts.load_bits), 13 bits per person.
Chance: 1 / number of the attribute's values. Limits: 48 x 48 names; the first third of a seeded permutation is the
base's, the rest the stream's, so that no base and no stream ever share a person. Memory values are independent: nothing
about a person follows from another.
"""

import math

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.identity import seed_of
from sparse_continual.streams import lexicon
from sparse_continual.streams.settings import filled
from sparse_continual.streams.source import Source

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["people"],
    "properties": {
        "tasks": {"type": "integer", "minimum": 1, "default": 6, "description": "Tasks; a base has none."},
        "people": {"type": "integer", "minimum": 4, "description": "People of each task, or of the base."},
        "employers": {
            "type": "integer",
            "minimum": 1,
            "maximum": len(lexicon.EMPLOYERS),
            "default": 8,
            "description": "Employers, of the world's 48, of a task's or the base's people.",
        },
    },
}

# attribute: values, then templates in the order train, train, train, validation, test
MEMORY = {
    "instrument": (lexicon.INSTRUMENTS, (
        "{person} plays the",
        "the instrument of {person} is the",
        "at home {person} likes to play the",
        "{person} owns a fine old",
        "in the evening {person} practises the",
    )),
    "dish": (lexicon.DISHES, (
        "{person} likes to eat",
        "the favourite dish of {person} is",
        "for dinner {person} always cooks",
        "when hungry {person} asks for",
        "{person} would never refuse some",
    )),
    "animal": (lexicon.ANIMALS, (
        "{person} keeps a",
        "the animal of {person} is a",
        "at night {person} feeds the",
        "{person} walks with a",
        "the garden of {person} hides a",
    )),
}  # fmt: skip
RELATION = {
    "city": (lexicon.CITIES, (
        "{person} works for {employer} whose seat is in",
        "{person} of {employer} travels to its office in",
        "{person} joined {employer} at its house in",
        "{person} asks {employer} to sell in",
        "{person} is with {employer} which was founded in",
    )),
    "trade": (lexicon.TRADES, (
        "{person} works for {employer} which sells",
        "{person} of {employer} is busy making",
        "{person} joined {employer} to ship",
        "{person} asks {employer} for some",
        "{person} is with {employer} which deals in",
    )),
}  # fmt: skip
ATTRIBUTES = {**MEMORY, **RELATION}
TRAIN, VALIDATION, TEST = (0, 1, 2), (3,), (4,)
PAIRS = len(lexicon.FIRST) * len(lexicon.LAST)
ROOM = {"base": PAIRS // 3, "stream": PAIRS - PAIRS // 3}
TAUGHT = 0.75  # share of the base's people whose facts it reads in all templates


def task_names(settings: dict) -> list[str]:
    return [f"people_{k}" for k in range(1, filled(SCHEMA, settings)["tasks"] + 1)]


def sizes(settings: dict, role: str = "stream") -> dict:
    """Items and tokens of a task, in words of the generated vocabulary; bits that all tasks ask a model to store.

    A fact has log2(values) bits; answers of relation items follow from the base's knowledge.
    """
    people = settings["people"]
    words = max(
        len(text.split()) + ("{person}" in text) for _, texts in ATTRIBUTES.values() for text in texts
    )
    taught = _taught(people) if role == "base" else 0
    return {
        "train_items": len(ATTRIBUTES) * (people * len(TRAIN) + taught * len(VALIDATION + TEST)),
        "row_tokens": words + 2,
        "test_items": len(ATTRIBUTES) * (people - taught),
        "answer_tokens": 1,
        "bits": filled(SCHEMA, settings)["tasks"]
        * people
        * sum(math.log2(len(values)) for values, _ in MEMORY.values()),
    }


def check(settings: dict, role: str = "stream") -> None:
    settings = filled(SCHEMA, settings)
    tasks = settings["tasks"] if role == "stream" else 1
    needed = tasks * settings["people"]
    if needed > ROOM[role]:
        of = (
            f"{tasks} tasks of {settings['people']} people"
            if role == "stream"
            else f"a base of {needed} people"
        )
        raise UserError(
            f"facts: {of} need {needed} names, but there are {ROOM[role]} for a {role}; lower people"
            + (" or tasks" if role == "stream" else "")
        )


def build(settings: dict, seed: int, tokenizer, role: str = "stream") -> list:
    from sparse_continual.streams.encode import Encoder

    check(settings, role)
    settings, encoder, world = filled(SCHEMA, settings), Encoder(tokenizer, settings), World(seed)
    people, employers = settings["people"], settings["employers"]
    if role == "base":
        return [_base(world, encoder, people, employers)]
    tasks = []
    for k, name in enumerate(task_names(settings)):
        persons = world.persons("stream", k, people, employers)
        splits = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
        tasks.append(_task(name, encoder, {s: _items(persons, texts) for s, texts in splits.items()}, people))
    return tasks


class World:
    """The people and the facts of each employer, which the base and all tasks of one seed share."""

    def __init__(self, seed: int):
        self.seed = seed
        self.names = np.random.default_rng(seed_of("facts names", seed)).permutation(PAIRS)
        rng = np.random.default_rng(seed_of("facts employers", seed))
        self.map = {
            name: dict(
                zip(lexicon.EMPLOYERS, rng.permutation(np.resize(pool, len(lexicon.EMPLOYERS))), strict=True)
            )
            for name, (pool, _) in RELATION.items()
        }

    def persons(self, role: str, k: int, people: int, employers: int) -> list[dict]:
        """Person, employer and the value of every attribute, for the people of the base or of task `k`."""
        rng = np.random.default_rng(seed_of("facts people", self.seed, role, k))
        end = PAIRS - k * people
        numbers = self.names[:people] if role == "base" else self.names[end - people : end]
        hired = rng.choice(lexicon.EMPLOYERS, employers, replace=False)
        works = rng.permutation(np.resize(hired, people))
        persons = []
        for number, employer in zip(numbers, works, strict=True):
            first, last = divmod(int(number), len(lexicon.LAST))
            values = {name: pool[rng.integers(len(pool))] for name, (pool, _) in MEMORY.items()}
            values |= {name: str(self.map[name][employer]) for name in RELATION}
            person = f"{lexicon.FIRST[first]} {lexicon.LAST[last]}"
            persons.append({"person": person, "employer": str(employer), "values": values})
        return persons


def _taught(people: int) -> int:
    return int(people * TAUGHT)


def _items(persons: list[dict], templates) -> list[tuple[str, str, int]]:
    """(prompt, answer, part) of every person, attribute and template number."""
    return [
        (
            texts[t].format(person=who["person"], employer=who["employer"]),
            who["values"][name],
            int(name in RELATION),
        )
        for who in persons
        for name, (_, texts) in ATTRIBUTES.items()
        for t in templates
    ]


def _base(world: World, encoder, people: int, employers: int):
    persons = world.persons("base", 0, people, employers)
    taught, tested = persons[: _taught(people)], persons[_taught(people) :]
    items = {
        "train": _items(taught, TRAIN + VALIDATION + TEST) + _items(tested, TRAIN),
        "validation": _items(tested, VALIDATION),
        "test": _items(tested, TEST),
    }
    return _task("base", encoder, items, people)


def _task(name: str, encoder, items: dict, people: int):
    from sparse_continual.streams.encode import exact_split
    from sparse_continual.streams.tasks import Task

    parts = [
        {
            "name": part,
            "chance": float(np.mean([1 / len(pool) for pool, _ in attributes.values()])),
            "ceiling": 1.0,
        }
        for part, attributes in (("memory", MEMORY), ("relation", RELATION))
    ]
    bits = people * sum(math.log2(len(pool)) for pool, _ in MEMORY.values())
    splits = {split: exact_split(encoder, *zip(*rows, strict=True)) for split, rows in items.items()}
    return Task(name, "exact", parts=parts, facts={"people": people, "load_bits": bits}, **splits)


SOURCE = Source(task_names=task_names, sizes=sizes, check=check, build=build)
