"""Joining the files of single runs."""

import csv
import json

import numpy as np
import pytest

from sparse_continual.csv_text import csv_text
from sparse_continual.errors import UserError
from sparse_continual.pruning.tables import DENSITIES
from sparse_continual.runs.tables import RUNS, SAVINGS, TRIALS
from sparse_continual.scores.tables import ITEMS, REFERENCES, SCORES
from sparse_continual.statistics import collect


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_scores_keep_their_digits_and_the_order_of_the_study(tmp_path):
    header = "after,task,position,part,score,loss,items,chance,ceiling\n"
    body = (
        "1,b,2,relation,0.30000000000000004,1e-05,6,0.1,1\n1,b,2,all,.5,1,9,0.1,1\n0,b,2,all,.25,1,9,.1,1\n"
    )
    paths = [write(tmp_path / n / "scores.csv", header + body) for n in "xy"]
    collect.collect_scores([["sparse", "10"], ["dense", "2"]], paths, tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0].split(",") == SCORES.names
    assert lines[1:4] == [
        "sparse,10,0,b,2,all,.25,1,9,.1,1",
        "sparse,10,1,b,2,all,.5,1,9,0.1,1",
        "sparse,10,1,b,2,relation,0.30000000000000004,1e-05,6,0.1,1",
    ]
    assert lines[4].startswith("dense,2,0")


def test_items_and_savings_are_copied(tmp_path):
    items = "after,task,position,scores\n0,b,1,0 1 0.333\n1,b,1,1 1 1\n"
    collect.collect([["dense", "1"]], [write(tmp_path / "items.csv", items)], ITEMS, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "condition,block,after,task,position,scores",
        "dense,1,0,b,1,0 1 0.333",
        "dense,1,1,b,1,1 1 1",
    ]
    savings = "task,position,steps,score_old,score_base\nb,1,5,.5,0.25\n"
    collect.collect([["dense", "1"]], [write(tmp_path / "s.csv", savings)], SAVINGS, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (
        "condition,block,task,position,steps,score_old,score_base\ndense,1,b,1,5,.5,0.25\n"
    )


def scored(path, runs, tasks):
    """scores.csv whose score is 10 x after + place of the task in `tasks`, parts and the base's mixture too."""
    lines = ["after,task,position,part,score,loss,items,chance,ceiling"]
    for after in range(runs + 1):
        lines += [
            f"{after},{t},{i},{p},{10 * after + i},1,9,0.1,1"
            for i, t in enumerate(tasks, 1)
            for p in ("all", "odd")
        ]
        lines.append(f"{after},base,0,all,0,1,9,0.1,1")
    return write(path, "\n".join(lines) + "\n")


def test_references_stand_at_the_places_of_the_block(tmp_path):
    single = scored(tmp_path / "single.csv", 3, "abc")  # trained in the stream's own order
    joint = scored(tmp_path / "joint.csv", 3, "cab")  # in the block's
    last = scored(tmp_path / "last.csv", 1, "abc")
    block = ["c", "a", "b"]
    collect.collect_references(
        [
            ["dense", "2", block, ["a", "b", "c"], {"kind": "single"}],
            ["dense", "2", block, block, {"kind": "joint", "at": [1, 2, 3]}],
            ["dense", "3", block, ["a", "b", "c"], {"kind": "joint", "at": [3]}],
        ],
        [single, joint, last],
        tmp_path / "out.csv",
    )
    with open(tmp_path / "out.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == REFERENCES.names
    cells = {}
    for row in rows:
        assert row["condition"] == "dense" and row["task"] == block[int(row["position"]) - 1]
        if row["part"] == "all":
            cells.setdefault((row["kind"], row["block"]), []).append(
                (int(row["after"]), row["task"], int(row["score"]))
            )
    assert len(rows) == 2 * sum(map(len, cells.values()))
    assert cells == {
        # c was the third to be trained alone, and the third column: 33
        ("single", "2"): [(1, "c", 33), (2, "a", 11), (3, "b", 22)],
        ("joint", "2"): [(1, "c", 11), (2, "c", 21), (2, "a", 22), (3, "c", 31), (3, "a", 32), (3, "b", 33)],
        ("joint", "3"): [(3, "c", 13), (3, "a", 11), (3, "b", 12)],
    }


def test_runs(tmp_path):
    task = dict(position=1, task="a", steps=120, stop="steps", tokens=4000, learning_rate=1e-3)
    task |= dict(validation_loss=0.1 + 0.2, trained=5, update_norm=1.0, relative_update=0.5, ends_share=None)
    run = {"tasks": [{**task, "position": 2, "task": "b"}, task], "seconds": 3.2}
    path = write(tmp_path / "run.json", json.dumps(run))
    collect.collect_runs([["dense", "1"]], [path], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",".join(RUNS.names),
        "dense,1,1,a,120,steps,4000,0.001,0.3,5,1,0.5,",
        "dense,1,2,b,120,steps,4000,0.001,0.3,5,1,0.5,",
    ]


def test_trials_mark_the_chosen_rate(tmp_path):
    header = "block,learning_rate,after,task,position,score,loss,chance,ceiling\n"
    trials = write(
        tmp_path / "trials.csv", header + "tuning-1,0.001,1,a,1,.5,1,.1,1\ntuning-1,0.002,1,a,1,.6,1,.1,1\n"
    )
    chosen = write(tmp_path / "chosen.json", '{"learning_rate": 2e-3}')
    collect.collect_trials(["dense"], [trials], [chosen], tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0].split(",") == TRIALS.names
    assert [line.split(",")[-1] for line in lines[1:]] == ["false", "true"]


def test_densities(tmp_path):
    path = write(
        tmp_path / "d.csv", "matrix,layer,module,weights,nonzeros,density,pattern\nm,0,q_proj,8,4,0.5,2:4\n"
    )
    collect.collect([["sparse", "1"]], [path], DENSITIES, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",".join(DENSITIES.names),
        "sparse,1,m,0,q_proj,8,4,0.5,2:4",
    ]
    collect.collect([], [], DENSITIES, tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == ",".join(DENSITIES.names) + "\n"


def test_cells_of_every_kind():
    row = {"a": None, "b": True, "c": np.bool_(False), "d": np.float32(0.5), "e": np.int64(3), "left": "out"}
    assert csv_text([row], "abcde") == "a,b,c,d,e\n,true,false,0.5,3\n"


def test_a_lost_column_is_named(tmp_path):
    path = write(tmp_path / "scores.csv", "after,task\n")
    with pytest.raises(UserError, match="scores.csv: no column position, part"):
        collect.collect_scores([["dense", "1"]], [path], tmp_path / "out.csv")
