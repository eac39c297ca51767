"""What was done to tasks, and what rows begin with, beside the scores before the stream."""

import made_up
import pandas
import pytest

from sparse_continual import tables
from sparse_continual.integrity import write_manifest
from sparse_continual.report import page_tables
from sparse_continual.report.render import write
from sparse_continual.report.tasks import gather, of_tasks
from sparse_continual.report.words import Words
from sparse_continual.streams.tasks import Task, make_split, save_tasks, whole


def built(folder, **facts):
    """The manifest of built tasks: name -> facts."""
    split = make_split([[1, 2]], [1])
    tasks = [Task(name, "tokens", split, split, split, whole(0.5), facts=own) for name, own in facts.items()]
    save_tasks(folder / "tasks", tasks)
    write_manifest(folder / "manifest.json", folder / "tasks")
    return folder / "manifest.json"


COUNTS = {
    "cut": {"train": 1, "validation": 0, "test": 2},
    "unlabelled": {"train": 0, "test": 131},
    "marks": 5,
    "repeated": 9,
}


@pytest.fixture
def gathered(tmp_path):
    published = built(
        tmp_path / "published",
        MNLI={**COUNTS, "start": ["<s>"], "left_out_end": ["</s>"]},
        CB={"start": [], "left_out_end": []},
    )
    generated = built(
        tmp_path / "generated", people_1={"people": 4}, toy={"dropped": {"test": 1}, "cut": {"test": 0}}
    )
    return gather(
        [("people", "dense", published), ("people", "sparse", published), ("people", "tiny", generated)]
    )


def test_tasks_worth_telling_of(gathered):
    assert [(row["condition"], row["task"]) for row in gathered] == [
        *((condition, task) for condition in ("dense", "sparse") for task in ("MNLI", "CB")),
        ("tiny", "toy"),
    ]
    nothing = {"cut": 0, "dropped": 0, "unlabelled": 0, "marks": 0, "control": 0}
    where = {"stream": "people", "condition": "dense"}
    counts = nothing | {"cut": 3, "unlabelled": 131, "marks": 5}
    assert gathered[0] == where | {"task": "MNLI", "start": ["<s>"], "left_out_end": ["</s>"]} | counts
    assert gathered[1] == where | {"task": "CB", "start": [], "left_out_end": []} | nothing
    assert gathered[-1]["start"] is None and gathered[-1]["dropped"] == 1


def scores(root):
    rows = [
        {"condition": condition, "block": block, "after": after, "task": task, "position": 1, "part": part}
        | {
            "score": (0.5 if after else 0.1 * int(block)) + bonus,
            "loss": 2.0,
            "items": 4,
            "chance": 0.25,
            "ceiling": 1.0,
        }
        for condition, bonus in (("dense", 0.0), ("sparse", 0.05))
        for block in "123"
        for after in (0, 1)
        for task in ("MNLI", "CB")
        for part in ("all", "memory")[: 1 + (after == 0)]
    ]
    tables.write(root / "people" / "tables" / "scores.csv", pandas.DataFrame(rows))


def test_scores_before_the_stream_stand_beside_what_was_added(gathered, tmp_path):
    scores(tmp_path)
    made = of_tasks(tmp_path, "people", gathered, Words("en"))
    columns = [head["column"] for head in made["head"]]
    rows = [dict(zip(columns, (cell["value"] for cell in row), strict=True)) for row in made["rows"]]
    assert [float(row["score_before"]) for row in rows[:4]] == pytest.approx([0.2, 0.2, 0.25, 0.25])
    assert float(rows[0]["chance_before"]) == 0.25 and float(rows[0]["loss_before"]) == 2.0
    assert [row["start"] for row in rows] == ["<s>", "none", "<s>", "none", ""]
    assert (
        int(rows[0]["unlabelled"]) == 131
        and rows[0]["left_out_end"] == "</s>"
        and rows[4]["score_before"] == ""
    )
    assert of_tasks(tmp_path, "other", gathered, Words("en"))["rows"] == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_them_where_there_are_any(gathered, tmp_path, language):
    facts = made_up.facts(one_base=True) | {"language": language}
    root = made_up.results(tmp_path / "made-up", facts)
    scores(root)
    pages = []
    for number, rows in enumerate(([], gathered)):
        paths = [root / f"report_{number}" / name for name in ("report.html", "findings.md", "primary.tex")]
        write(root, facts, *paths, made_up.ENVIRONMENT, rows)
        pages.append(paths[0].read_text(encoding="utf-8"))
    assert "table-people-tasks" not in pages[0] and "table-people-tasks" in pages[1]
    assert "&lt;s&gt;" in pages[1] and "<td><s>" not in pages[1]
    start = pages[1].index('<table class="data" id="table-people-tasks"')
    table = pages[1][start : pages[1].index("</table>", start)]
    assert table.count("<tr>") == 1 + 5 and "131" in table


@pytest.mark.parametrize("stream", [{"source": "text", "files": ["a.txt", "b.txt"]}, {"source": "rules"}])
def test_planned_tasks_are_those_of_the_study_whatever_the_source_calls_them(stream):
    facts = made_up.facts() | {"streams": {"people": stream}, "tasks": {"people": 2}}
    runs = pandas.DataFrame([{"condition": "sparse", "block": "1", "task": task} for task in "ab"])
    rows = {row["condition"]: row for row in page_tables._planned(runs, facts, "people")}
    assert rows["sparse"]["tasks_planned"] == rows["sparse"]["tasks_run"] == 2
    assert rows["dense"]["tasks_planned"] == 2 and rows["dense"]["tasks_run"] == 0
