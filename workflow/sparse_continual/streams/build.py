"""Streams and pretraining mixtures from their settings."""

from collections import Counter

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.streams.tasks import SPLITS, Task, save_tasks
from sparse_continual.streams.tokens import added, generated, start_of

SOURCES = "streams.sources"


def build_stream(settings: dict, seed: int, tokenizer, folder) -> list[Task]:
    """Build the tasks of the stream {source, ...} and save them below `folder`.

    Raises UserError for mistakes that the source finds, and for a task with an empty split.
    """
    source = registry.load(SOURCES, settings["source"])
    tasks = source.build(settings, seed, tokenizer)
    refuse_empty(tasks)
    _note_start(tasks, tokenizer, settings)
    save_tasks(folder, tasks)
    return tasks


def build_mixture(mixture: list[dict], seed: int, tokenizer, folder) -> list[Task]:
    """Build and save one task per entry of a base's mixture [{source, share, ...}].

    The base trains on the training splits (`batches.mixture_rows` draws from them by share); the test splits measure
    its retention. One entry's task is called "base"; several are called "base_<source>".
    """
    tasks = []
    for entry in mixture:
        (task,) = registry.load(SOURCES, entry["source"]).build(entry, seed, tokenizer, role="base")
        _note_start([task], tokenizer, entry)
        tasks.append(task)
    refuse_empty(tasks)
    if len(tasks) > 1:
        sources = Counter()
        for task, entry in zip(tasks, mixture, strict=True):
            sources[entry["source"]] += 1
            again = f"_{sources[entry['source']]}" if sources[entry["source"]] > 1 else ""
            task.name = f"base_{entry['source']}{again}"
    save_tasks(folder, tasks)
    return tasks


def _note_start(tasks: list[Task], tokenizer, settings: dict) -> None:
    """Record in the facts how rows begin, and which tokens the tokenizer would add at the end: `start` and
    `left_out_end`, lists of tokens. Not for generated vocabularies, where these are known."""
    if generated(tokenizer):
        return
    start, end = start_of(tokenizer, settings.get("start_token", "auto")), added(tokenizer)[1]
    named = {"start": start, "left_out_end": end}
    for task in tasks:
        task.facts |= {key: tokenizer.convert_ids_to_tokens(ids) for key, ids in named.items()}


def refuse_empty(tasks: list[Task]) -> None:
    """Raise UserError naming the first task and split without items."""
    for task in tasks:
        for split in SPLITS:
            if not len(getattr(task, split)):
                raise UserError(
                    f"task {task.name}: its {split} split is empty; add items, or use a larger max_tokens"
                )
