"""trades: which trade each employer has, as many tasks as asked for, all items alike in train and test."""

from sparse_continual.streams import lexicon
from sparse_continual.streams.source import Source

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "tasks": {"type": "integer", "minimum": 1, "default": 2, "description": "tasks of a stream"},
        "items": {"type": "integer", "minimum": 1, "default": 6, "description": "items of a task"},
    },
}


def task_names(settings):
    return [f"trades_{number}" for number in range(settings["tasks"])]


def sizes(settings, role="stream"):
    items = settings["items"]
    return {
        "train_items": items,
        "test_items": items,
        "row_tokens": 4,
        "answer_tokens": 1,
        "bits": 2.0 * items,
    }


def build(settings, seed, tokenizer, role="stream"):
    from sparse_continual.streams.encode import Encoder, exact_split
    from sparse_continual.streams.tasks import SPLITS, Task, whole

    encoder, tasks = Encoder(tokenizer, settings), []
    for number, name in enumerate(task_names(settings)):
        first = number * settings["items"]
        prompts = [f"{employer} sells" for employer in lexicon.EMPLOYERS[first : first + settings["items"]]]
        answers = [lexicon.TRADES[(seed + place) % 4] for place in range(len(prompts))]
        splits = {split: exact_split(encoder, prompts, answers) for split in SPLITS}
        tasks.append(Task(name, "exact", parts=whole(0.25), **splits))
    return tasks


SOURCE = Source(task_names=task_names, sizes=sizes, build=build)
