"""Scores beside the weights and from the weights: the same bytes, and never those of something else."""

import json
import runpy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparse_continual.csv_text import csv_text
from sparse_continual.errors import UserError
from sparse_continual.files import read_json, write_json
from sparse_continual.integrity import read_manifest, write_manifest
from sparse_continual.models.load import load_model
from sparse_continual.runs.state import weights_path
from sparse_continual.scores import evaluate, table
from sparse_continual.scores.score import score_saved
from sparse_continual.streams.tasks import load_tasks, save_tasks
from sparse_continual.training.batches import collate, loss_of

ROOT = Path(__file__).resolve().parents[2]
SCORING = {"batch_size": 5, "calibrated_options": False}


@pytest.fixture
def rules(monkeypatch, tmp_path, world, job_of):
    """The rules train_condition and score_run on one run: their scripts, with a stand-in for Snakemake."""
    from snakemake.iocontainers import Namedlist

    monkeypatch.setattr("sparse_continual.script.job", lambda _: nullcontext({}))
    tuning = tmp_path / "chosen.json"
    write_json(tuning, {"learning_rate": 3e-3})

    def script(name, given, params, output):
        snakemake = SimpleNamespace(
            input=Namedlist(fromdict=given),
            params=SimpleNamespace(**params),
            output=Namedlist(fromdict=output),
            threads=1,
            resources=SimpleNamespace(gpu=0),
        )
        runpy.run_path(str(ROOT / "scripts" / name), init_globals={"snakemake": snakemake})

    class Rules:
        def __init__(self, arm="sparse", mixture=world.mixture, keep="all"):
            job = job_of(arm)
            self.job, self.mixture, self.folder = job, mixture, job["folder"]
            self.settings = {key: job[key] for key in ("arm", "training", "order", "seed")}
            self.given = {"base": getattr(world, "sparse" if job["arm"]["sparse"] else "dense")}
            self.given["stream"] = world.stream
            if job["like"]:
                self.given["like"] = world.sparse
            self.scoring = {"settings": SCORING, "code": "abc", "mixture": mixture}
            self.keep = keep

        def train(self):
            params = {
                "settings": self.settings,
                "code": "code",
                "resume": self.job["resume"],
                "scoring": self.scoring,
                "keep_weights": self.keep,
            }
            given = {**self.given, "tuning": str(tuning)}
            script("runs/train_condition.py", given, params, {"run": str(self.folder / "run.json")})
            return read_json(self.folder / "run.json")

        def score(self, **changes):
            given = {**self.given, "run": str(self.folder / "run.json")}
            if self.mixture:
                given["mixture"] = self.mixture
            params = {"settings": SCORING, "code": "abc", "run": self.settings, **changes}
            made = {name: tmp_path / f"{name}.csv" for name in ("scores", "items")}
            script("scores/score_run.py", given, params, {"tables": [str(path) for path in made.values()]})
            return {name: path.read_bytes() for name, path in made.items()}

    return Rules


COMPUTED = "computing: the run has no stored scores"


@pytest.mark.parametrize(
    ("arm", "missing"),
    [(arm, "scores.csv") for arm in ("dense", "unlocked", "masked writes", "trained ends", "masked lora")]
    + [(arm, "items.csv") for arm in ("sparse", "side lora", "replay", "ewc")],
)
def test_adopted_scores_are_recomputed_ones(arm, missing, rules, capsys):
    rule = rules(arm)
    run = rule.train()
    assert "scores" not in run and set(run["weights"]) == {"1", "2", "3"}
    capsys.readouterr()
    adopted = rule.score()
    assert COMPUTED not in capsys.readouterr().out
    (rule.folder / missing).unlink()
    recomputed = rule.score()
    assert COMPUTED in capsys.readouterr().out
    assert adopted == recomputed
    # 4 states, on 3 tasks of two parts and the whole, and on the mixture
    assert len(adopted["scores"].decode().splitlines()) == 1 + 4 * (3 * 3 + 1)
    assert len(adopted["items"].decode().splitlines()) == 1 + 4 * 3
    assert not rule.job["resume"].exists()


def test_a_second_training_makes_the_same_bytes(rules, tmp_path):
    rule = rules()
    rule.train()
    one = {p.name: p.read_bytes() for p in rule.folder.rglob("*") if p.is_file() and p.name != "run.json"}
    rule.train()
    assert one == {p.name: p.read_bytes() for p in rule.folder.rglob("*") if p.is_file() and p.name in one}


def is_adopted(rule, capsys, **changes):
    capsys.readouterr()
    rule.score(**changes)
    return COMPUTED not in capsys.readouterr().out


def test_what_makes_other_scores_is_no_reason_to_adopt(rules, capsys):
    rule = rules()
    rule.train()
    assert is_adopted(rule, capsys)
    assert not is_adopted(rule, capsys, settings={**SCORING, "batch_size": 6})
    assert not is_adopted(rule, capsys, code="abd")
    beside = rule.folder / "scores.csv"
    text = beside.read_text()
    beside.write_text(text[:-20])  # cut short by a full disk
    assert not is_adopted(rule, capsys)
    beside.write_text(text)
    assert is_adopted(rule, capsys)
    rule.mixture = None
    assert not is_adopted(rule, capsys)


@pytest.mark.parametrize("role", ["base", "stream", "mixture"])
def test_a_rebuilt_input_of_the_same_name_is_not_taken_for_the_old_one(role, rules, capsys, tmp_path, world):
    """Folder names hold digests of settings; the code that makes them may have changed since."""
    rule = rules()
    rule.train()
    rebuilt = tmp_path / "rebuilt" / "manifest.json"
    given = rule.given | {"mixture": rule.mixture}
    manifest = read_manifest(given[role])
    rebuilt.parent.mkdir()
    if role == "base":  # its topology file lies beside its manifest
        source = Path(given[role]).with_name("topology.safetensors")
        (rebuilt.parent / "topology.safetensors").write_bytes(source.read_bytes())
    facts = {key: manifest[key] for key in ("trust_remote_code",) if key in manifest}
    write_manifest(rebuilt, manifest["folder"], fact=1, **facts)
    if role == "mixture":
        rule.mixture = str(rebuilt)
    else:
        rule.given[role] = str(rebuilt)
    assert not is_adopted(rule, capsys)


def test_other_weights_have_other_keys():
    asked = {"settings": SCORING, "code": "abc", "made from": {"base": "1", "stream": "2", "mixture": None}}
    keys = {table.key_of(weights, asked) for weights in ({"1": "a"}, {"1": "b"}, {"1": "a", "2": "c"})}
    assert len(keys) == 3


def test_nothing_is_left_while_the_mixture_is_not_built(rules, capsys, tmp_path, world):
    rule = rules(mixture=str(tmp_path / "later" / "manifest.json"))
    rule.train()
    assert not (rule.folder / "scores.csv").exists()
    tasks = load_tasks(world.root / "mixture" / "tasks")
    save_tasks(tmp_path / "later" / "tasks", tasks)
    write_manifest(rule.mixture, tmp_path / "later" / "tasks")
    assert not is_adopted(rule, capsys)


def test_gone_weights_are_reported_with_their_price(rules):
    rule = rules(keep="last")
    rule.train()
    rule.score()
    with pytest.raises(UserError) as caught:
        rule.score(code="other")
    text = str(caught.value)
    assert "after_001.safetensors: missing (study.keep_weights), and the scoring has changed" in text
    assert "/run and train the run again: 15 steps, " in text and text.endswith("s when it was trained")


def test_weights_that_are_not_the_runs_are_refused(rules):
    rule = rules()
    rule.train()
    path = weights_path(rule.folder, 2)
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\x80?")
    with pytest.raises(
        UserError, match="after_002.safetensors: missing, or not the weights that run.json lists"
    ):
        rule.score(code="other")


def test_adopting_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from sparse_continual.scores.table import adopt, asked, key_of\n"
        "from sparse_continual.files import read_json, write\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'safetensors') if m in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# the rows


def test_rows_against_single_items(world, job_of):
    """Every score and loss from one row at a time, parts and mixture included."""
    job = job_of("dense")
    model = load_model(job["model"])
    tasks = load_tasks(job["stream"], job["order"])
    (mixture,) = load_tasks(world.root / "mixture" / "tasks")
    tables = evaluate.score(lambda task: nullcontext(model), 2, tasks, [mixture], SCORING)
    expected, items = [], []
    for position, task in [*enumerate(tasks, 1), (0, mixture)]:
        losses, right = [], []
        for row in range(task.test.rows):
            batch = collate(task.test, [row])
            with torch.no_grad():
                losses.append(loss_of(model, batch).item())
                chosen = model(batch["input_ids"]).logits[0, -3:-1].argmax(-1)
            right.append(float(torch.equal(chosen, batch["input_ids"][0, -2:])))
        if position:
            scores = " ".join(str(int(one)) for one in right)
            items.append({"after": 2, "task": task.name, "position": position, "scores": scores})
        losses, right = np.array(losses), np.array(right)
        parts = {"all": slice(None), "odd": task.test.parts == 0, "even": task.test.parts == 1}
        for part, inside in parts.items() if position else [("all", slice(None))]:
            chance, ceiling = {"all": (0.2, 0.95), "odd": (0.1, 1), "even": (0.3, 0.9)}[part]
            expected.append(
                {
                    "after": 2,
                    "task": task.name,
                    "position": position,
                    "part": part,
                    "score": pytest.approx(right[inside].mean()),
                    "loss": pytest.approx(losses[inside].mean(), rel=1e-5),
                    "items": 8 if part == "all" else 4,
                    "chance": pytest.approx(chance),
                    "ceiling": pytest.approx(ceiling),
                }
            )
    assert tables == {"scores": expected, "items": items}


def test_a_mixture_of_several_entries_is_one_row(world, job_of):
    job = job_of("dense")
    model = load_model(job["model"])
    tasks = load_tasks(job["stream"], job["order"])
    tasks[0].test = tasks[0].validation
    apart = [
        evaluate.score(lambda task: nullcontext(model), 0, [], [task], SCORING)["scores"][0] for task in tasks
    ]
    (row,) = evaluate.score(lambda task: nullcontext(model), 0, [], tasks, SCORING)["scores"]
    assert (row["task"], row["position"], row["part"], row["items"]) == ("base", 0, "all", 24)
    assert row["loss"] == pytest.approx(np.mean([one["loss"] for one in apart]))
    assert row["score"] == pytest.approx(np.mean([one["score"] for one in apart]))


def test_no_mixture_no_row(world, job_of):
    job = job_of("dense")
    tables = evaluate.score(
        lambda task: nullcontext(load_model(job["model"])), 0, load_tasks(job["stream"]), [], SCORING
    )
    assert {row["position"] for row in tables["scores"]} == {1, 2, 3}


def test_row_zero_is_the_base(rules):
    rule = rules()
    run = rule.train()
    job = rule.job | {"mixture": None}
    found = score_saved(job, SCORING, run, 1)
    tasks = load_tasks(job["stream"], job["order"])
    base = evaluate.texts(
        [evaluate.score(lambda task: nullcontext(load_model(job["model"])), 0, tasks, [], SCORING)]
    )
    assert all(found[name].startswith(base[name]) for name in ("scores", "items"))
    rows = [line.split(",", 1) for line in found["scores"].splitlines()]
    assert [own for after, own in rows if after == "0"] != [own for after, own in rows if after == "1"]


def test_csv_is_the_same_for_the_same_rows():
    rows = [{"a": 1 / 3, "b": 2, "c": "x,y", "d": np.float64(0.1)}, {"a": 1e-7, "b": -1, "c": "", "d": 2.0}]
    text = 'd,a,b,c\n0.1,0.3333333333,2,"x,y"\n2,1e-07,-1,\n'
    assert csv_text(rows, ("d", "a", "b", "c")) == text


def test_left_table_is_adopted_under_its_key_alone(tmp_path):
    assert table.adopt(tmp_path, "k") is None
    tables = {"scores": "a,b\n1,2\n", "items": "a\n1\n"}
    table.leave(tmp_path, tables, "k")
    assert table.adopt(tmp_path, "k") == tables
    assert table.adopt(tmp_path, "other") is None
    key = json.loads((tmp_path / table.KEY).read_text())
    table.leave(tmp_path, tables | {"scores": "a,b\n3,4\n"}, "new")
    write_json(tmp_path / table.KEY, key)  # as if the process had died between the files
    assert table.adopt(tmp_path, "k") is None
    table.leave(tmp_path, tables, "k")
    (tmp_path / "items.csv").unlink()
    assert table.adopt(tmp_path, "k") is None
