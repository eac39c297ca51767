"""Streams and pretraining mixtures from their settings."""

from collections import Counter

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.streams.tasks import SPLITS, Task, save_tasks

SOURCES = "streams.sources"


def build_stream(settings: dict, seed: int, tokenizer, folder) -> list[Task]:
    """Build the tasks of the stream {source, ...} and save them below `folder`.

    Raises UserError for the source's mistakes and for a task with an empty split.
    """
    source = registry.load(SOURCES, settings["source"])
    tasks = source.build(settings, seed, tokenizer)
    refuse_empty(tasks)
    save_tasks(folder, tasks)
    return tasks


def build_mixture(mixture: list[dict], seed: int, tokenizer, folder) -> list[Task]:
    """Build and save one task per entry of a base's mixture [{source, share, ...}].

    Training splits are what the base is trained on (`batches.mixture_rows` draws from them by share),
    test splits measure its retention. One entry's task is called "base", several are "base_<source>".
    """
    tasks = []
    for entry in mixture:
        (task,) = registry.load(SOURCES, entry["source"]).build(entry, seed, tokenizer, role="base")
        tasks.append(task)
    refuse_empty(tasks)
    if len(tasks) > 1:
        seen = Counter()
        for task, entry in zip(tasks, mixture, strict=True):
            seen[entry["source"]] += 1
            again = f"_{seen[entry['source']]}" if seen[entry["source"]] > 1 else ""
            task.name = f"base_{entry['source']}{again}"
    save_tasks(folder, tasks)
    return tasks


def refuse_empty(tasks: list[Task]) -> None:
    """Raise UserError naming the first task and split without items."""
    for task in tasks:
        for split in SPLITS:
            if not len(getattr(task, split)):
                raise UserError(
                    f"task {task.name}: its {split} split is empty; give it items, or a larger max_tokens"
                )
