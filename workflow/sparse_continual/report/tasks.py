"""The handling of the tasks' texts and the start of their rows, beside the scores before the stream."""

from pathlib import Path

from sparse_continual import tables
from sparse_continual.files import read_json
from sparse_continual.integrity import read_manifest
from sparse_continual.report.html_table import table
from sparse_continual.report.words import Words
from sparse_continual.streams.tasks import HANDLING


def gather(built: list[tuple[str, str, str]]) -> list[dict]:
    """Rows {stream, condition, task, start, left_out_end, and the counts of HANDLING} of the tasks to report.

    built: (stream, condition, manifest of tasks that the condition reads). The rows are the tasks whose tokens come
    from a tokenizer that was not made here, and those with a nonzero count. `start` and `left_out_end`: lists of
    tokens, None for a generated tokenizer.
    """
    rows, read = [], {}
    for stream, condition, manifest in built:
        if manifest not in read:
            read[manifest] = read_json(Path(read_manifest(manifest)["folder"]) / "tasks.json")
        for task in read[manifest]:
            facts = task["facts"]
            counts = {key: _total(facts.get(key, 0)) for key in HANDLING}
            if "start" in facts or any(counts.values()):
                ends = {key: facts.get(key) for key in ("start", "left_out_end")}
                rows.append(
                    {"stream": stream, "condition": condition, "task": task["name"], **ends, **counts}
                )
    return rows


def _total(count) -> int:
    return sum(count.values()) if isinstance(count, dict) else count


def of_tasks(root: Path, name: str, gathered: list[dict], words: Words) -> dict:
    """The table of the stream `name` from rows of `gather`, with score and loss before the stream: means over blocks.

    root: results/<study>, whose table of scores is read if there is anything to show.
    """
    rows = [row for row in gathered if row["stream"] == name]
    if rows:
        scores = tables.read(root / name / "tables" / "scores.csv")
        before = scores[(scores.after == 0) & (scores.part == "all")].groupby(["condition", "task"])
        means = before[["score", "loss", "chance"]].mean().to_dict("index")
        rows = [
            row
            | {
                f"{key}_before": value
                for key, value in means.get((row["condition"], row["task"]), {}).items()
            }
            | {key: _tokens(row[key], words) for key in ("start", "left_out_end")}
            for row in rows
        ]
    return table(
        words,
        f"{name}-tasks",
        rows,
        "condition task:text start:text left_out_end:text score_before:number chance_before:number"
        f" loss_before:number {' '.join(f'{key}:count' for key in HANDLING)}",
        f"../{name}/tables/scores.csv",
        words("page.run.tasks"),
    )


def _tokens(tokens: list | None, words: Words) -> str:
    """Tokens one after the other; a word if there are none, nothing if the tokenizer was made here."""
    if tokens is None:
        return ""
    return " ".join(tokens) or words("page.run.no_token")
