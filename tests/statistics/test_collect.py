"""Joining the files of single runs."""

import json

import numpy as np
import pytest

from sparse_continual.csv_text import csv_text
from sparse_continual.errors import UserError
from sparse_continual.statistics import collect, columns


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
    assert lines[0].split(",") == list(columns.TABLES["scores"])
    assert lines[1:4] == [
        "sparse,10,0,b,2,all,.25,1,9,.1,1",
        "sparse,10,1,b,2,all,.5,1,9,0.1,1",
        "sparse,10,1,b,2,relation,0.30000000000000004,1e-05,6,0.1,1",
    ]
    assert lines[4].startswith("dense,2,0")


def test_runs(tmp_path):
    task = dict(position=1, task="a", steps=120, stop="steps", tokens=4000, learning_rate=1e-3)
    task |= dict(validation_loss=0.1 + 0.2, trained=5, update_norm=1.0, relative_update=0.5, ends_share=None)
    run = {"tasks": [{**task, "position": 2, "task": "b"}, task], "seconds": 3.2}
    path = write(tmp_path / "run.json", json.dumps(run))
    collect.collect_runs([["dense", "1"]], [path], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",".join(columns.TABLES["runs"]),
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
    assert lines[0].split(",") == list(columns.TABLES["trials"])
    assert [line.split(",")[-1] for line in lines[1:]] == ["false", "true"]


def test_densities(tmp_path):
    path = write(
        tmp_path / "d.csv", "matrix,layer,module,weights,nonzeros,density,pattern\nm,0,q_proj,8,4,0.5,2:4\n"
    )
    collect.collect_densities([["sparse", "1"]], [path], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",".join(columns.TABLES["densities"]),
        "sparse,1,m,0,q_proj,8,4,0.5,2:4",
    ]
    collect.collect_densities([], [], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == ",".join(columns.TABLES["densities"]) + "\n"


def test_cells_of_every_kind():
    row = {"a": None, "b": True, "c": np.bool_(False), "d": np.float32(0.5), "e": np.int64(3), "left": "out"}
    assert csv_text([row], "abcde") == "a,b,c,d,e\n,true,false,0.5,3\n"


def test_a_lost_column_is_named(tmp_path):
    path = write(tmp_path / "scores.csv", "after,task\n")
    with pytest.raises(UserError, match="scores.csv: no column position, part"):
        collect.collect_scores([["dense", "1"]], [path], tmp_path / "out.csv")
