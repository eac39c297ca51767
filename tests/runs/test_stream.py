"""Stop rules and records of a stream, and runs that are killed and go on."""

import json
import math
import multiprocessing
import shutil
import time
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.identity import sha256
from sparse_continual.models.load import load_model
from sparse_continual.runs import attach, stream
from sparse_continual.runs import resume as resumes
from sparse_continual.runs.resume import Resume
from sparse_continual.runs.run import clean_up, finish, run_condition
from sparse_continual.runs.state import weights_path
from sparse_continual.streams.tasks import load_tasks
from sparse_continual.training import loop
from sparse_continual.training.batches import collate, loss_of

STOPS = {
    "steps": {"steps": 5},
    "epochs": {"epochs": 0.9},  # of 24 rows in batches of 8: 2.7 steps, so 3
    "cap": {"loss": 1e-6, "cap": 5, "every": 2},
    "criterion": {"loss": 100, "cap": 9, "every": 4},
}


def positions(view, position):
    """A scorer that says what a model makes of eight tokens."""
    with torch.no_grad(), view(None) as model:
        return {"after": position, "sum": model(torch.arange(8)[None]).logits.sum().item()}


@pytest.mark.parametrize(("rule", "steps"), [("steps", 5), ("epochs", 3), ("cap", 5), ("criterion", 4)])
def test_stop_rules(rule, steps, job_of):
    run = run_condition(job_of("sparse", training={"batch_size": 8, "stop": STOPS[rule]}), 1)
    stop = "steps" if rule == "epochs" else rule
    for position, (record, name) in enumerate(zip(run["tasks"], "abc", strict=True), 1):
        assert (record["position"], record["task"]) == (position, name)
        assert (record["steps"], record["stop"]) == (steps, stop)


def test_a_criterion_reached_with_the_last_step_is_no_cap(job_of):
    training = {"batch_size": 8, "stop": {"loss": 100, "cap": 3, "every": 5}}
    run = run_condition(job_of("sparse", training=training), 1)
    assert [(r["steps"], r["stop"]) for r in run["tasks"]] == [(3, "criterion")] * 3


def test_the_criterion_is_the_validation_loss(job_of, monkeypatch):
    """With a loss between those of two looks, training stops at the second one."""
    looks, look = [], stream._validation_loss
    monkeypatch.setattr(stream, "_validation_loss", lambda *a: looks.append(look(*a)) or looks[-1])
    job = job_of("sparse", order=["a"], learning_rate=3e-2)

    def until(loss):
        job["training"] = {"batch_size": 8, "stop": {"loss": loss, "cap": 50, "every": 10}}
        return run_condition(job | {"resume": job["resume"] / str(loss)}, 1)["tasks"][0]

    assert until(1e-6)["stop"] == "cap"
    first, second = looks[:2]
    assert second < first
    record = until((first + second) / 2)
    assert (record["steps"], record["stop"], record["validation_loss"]) == (20, "criterion", second)


def test_the_rate_warms_up_and_falls_to_a_tenth(job_of, monkeypatch):
    rates, step = [], loop.step
    monkeypatch.setattr(loop, "step", lambda *a: rates.append(a[1].param_groups[0]["lr"]) or step(*a))
    training = {"batch_size": 8, "stop": {"steps": 20}}
    run_condition(job_of("sparse", order=["a", "b"], learning_rate=1e-2, training=training), 1)
    assert rates[:2] == pytest.approx([0.5e-2, 1e-2]) and rates[20:] == rates[:20]
    cosine = [1e-2 * (0.1 + 0.9 * (1 + math.cos(math.pi * k / 18)) / 2) for k in range(18)]
    assert rates[2:20] == pytest.approx(cosine)


@pytest.mark.parametrize("arm", ["sparse", "unlocked", "trained ends", "masked lora", "masked writes"])
def test_records_against_direct_computation(arm, job_of, started, world):
    job = job_of(arm, order=["b"])
    mechanism = started(arm, order=["b"])
    tasks = load_tasks(job["stream"], ["b"])
    base = {name: p.detach().clone() for name, p in load_model(job["model"]).named_parameters()}
    seen = []
    rows, mechanism.rows = mechanism.rows, lambda *a: seen.append(rows(*a)) or seen[-1]
    (record,), _ = stream.train_stream(mechanism, [tasks], job["training"], 3e-3, 11, lambda position: None)
    after = mechanism.weights()
    names = {name: name.removeprefix("ends.") for name in after}
    assert set(base) - set(names.values()) == (
        set() if arm == "trained ends" else set(base) - set(world.masks)
    )
    change = {n: (after[k].double() - base[n].double()).square().sum().item() for k, n in names.items()}
    norm = sum(change.values()) ** 0.5
    assert record["update_norm"] == pytest.approx(norm, rel=1e-4) and norm > 0.01
    size = sum(base[n].double().square().sum().item() for n in names.values()) ** 0.5
    assert record["relative_update"] == pytest.approx(norm / size, rel=1e-4)
    ends = sum(v for n, v in change.items() if n not in world.masks)
    assert record["ends_share"] == pytest.approx(ends / norm**2, rel=1e-4)
    assert (record["ends_share"] > 0) == (arm == "trained ends")
    assert record["trained"] == sum(p.numel() for p in mechanism.parameters())
    lengths = np.diff(tasks[0].train.starts)
    assert record["tokens"] == sum(int(lengths[chosen].sum()) for chosen in seen)
    assert len(seen) == 5 and all(len(chosen) == 8 for chosen in seen)
    with torch.no_grad():
        every = [
            loss_of(mechanism.setting.model, collate(tasks[0].validation, [row])).item() for row in range(8)
        ]
    assert record["validation_loss"] == pytest.approx(np.mean(every), rel=1e-5)


def test_replay_takes_the_steps_and_rows_of_finetuning(job_of, monkeypatch):
    taken = {}

    def count(*given):
        taken[arm] = taken.get(arm, 0) + 1
        return step(*given)

    step = loop.step
    monkeypatch.setattr(loop, "step", count)
    runs = {}
    for arm in ("sparse", "replay"):
        job = job_of(arm)
        runs[arm] = run_condition(job | {"resume": job["resume"] / arm, "folder": job["folder"] / arm}, 1)
    assert taken == {"sparse": 15, "replay": 15}
    first, *rest = zip(*(runs[arm]["tasks"] for arm in ("sparse", "replay")), strict=True)
    assert first[0] == first[1]
    assert all(a["update_norm"] != b["update_norm"] and a["steps"] == b["steps"] for a, b in rest)


def test_equal_seeds_give_equal_runs_and_others_do_not(job_of):
    def weights(**changes):
        job = job_of("sparse", **changes)
        run = run_condition(job, 1)
        resumes.clear(job["resume"])
        return run["weights"]

    assert weights() == weights() != weights(seed=12)


# resuming


class Killed(Exception):
    pass


def kill_after(monkeypatch, steps):
    """Let the process die in the step after `steps`; every step before it leaves a checkpoint."""
    count = iter(range(10**6))

    def dying(*given):
        if next(count) == steps:
            raise Killed
        return step(*given)

    step = loop.step
    monkeypatch.setattr(loop, "step", dying)
    monkeypatch.setattr(Resume, "due", lambda self: True)


def without_times(run):
    return {key: value for key, value in run.items() if key not in ("seconds", "machine")}


def files(folder):
    return {p.name: p.read_bytes() for p in (folder / "weights").iterdir()}


SINGLE, JOINT = {"reference": {"kind": "single"}}, {"reference": {"kind": "joint", "at": [1, 2]}}


@pytest.mark.parametrize(
    ("arm", "steps", "own"),
    [("sparse", steps, {}) for steps in (0, 3, 5, 12)]
    + [("trained ends", 4, {}), ("masked lora", 7, {}), ("side lora", 3, {})]
    + [("replay", steps, {}) for steps in (3, 8, 10)]
    + [("ewc", steps, {}) for steps in (5, 8, 11)]
    + [("unlocked ewc", 8, {}), ("ewc", 7, {"reference": {"kind": "joint", "at": [1, 2]}})]
    + [("sparse", 5, SINGLE), ("masked lora", 7, SINGLE), ("replay", 10, SINGLE), ("replay", 4, JOINT)],
)
def test_a_killed_run_goes_on_to_the_same_numbers(arm, steps, own, job_of, monkeypatch, tmp_path, capsys):
    whole = job_of(arm, folder=tmp_path / "whole", resume=tmp_path / "whole resume", **own)
    expected = run_condition(whole, 1, scorer=positions)
    job = job_of(arm, **own)
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            run_condition(job, 1, scorer=positions)
    capsys.readouterr()
    run = run_condition(job, 1, scorer=positions)
    task, step = divmod(steps, 5)
    said = f"resuming task {task + 1} at step {step}\n"
    assert (said in capsys.readouterr().out) == (steps > 0)
    assert without_times(run) == without_times(expected)
    assert files(job["folder"]) == files(whole["folder"])
    clean_up(job["folder"], run, "all", job["resume"])
    assert not job["resume"].exists()


def test_seconds_are_those_of_all_processes(job_of, monkeypatch, tmp_path):
    job = job_of("sparse")
    kill(job, monkeypatch)
    state = job["resume"] / "state.json"
    left = json.loads(state.read_text())["value"]
    assert 0 < left["data"]["seconds"] < 60
    left["data"]["seconds"] += 1000
    state.write_text(json.dumps({"value": left, "sha256": sha256(left)}))
    shutil.copytree(job["resume"], tmp_path / "again")
    assert 1000 < run_condition(job, 1, scorer=positions)["seconds"] < 1060
    weights_path(job["folder"], 1).unlink()  # the checkpoint is of no use, so what it took is no price
    assert run_condition(job | {"resume": tmp_path / "again"}, 1, scorer=positions)["seconds"] < 60


def kill(job, monkeypatch, steps=7):
    with monkeypatch.context() as patch:
        kill_after(patch, steps)
        with pytest.raises(Killed):
            run_condition(job, 1, scorer=positions)


def test_clipped_steps_are_counted(job_of, monkeypatch):
    norms, step = [], torch.optim.AdamW.step

    def measured(optimizer):
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norms.append(sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5)
        return step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", measured)

    def run(clip):
        norms.clear()
        monkeypatch.setattr(loop, "CLIP", clip)
        job = job_of("sparse")
        return run_condition(job | {"resume": job["resume"] / str(clip)}, 1)["tasks"]

    assert [record["clipped"] for record in run(1e9)] == [0, 0, 0]
    clip = 1.01 * float(np.median(norms))
    records = run(clip)
    # clip_grad_norm_ leaves a clipped gradient with the norm `clip` up to rounding
    shares = np.isclose(norms, clip, rtol=1e-4).reshape(3, 5).mean(1)
    assert [record["clipped"] for record in records] == pytest.approx(list(shares))
    assert 0 < shares.sum() < 3


def test_frozen_weights_are_those_of_before_the_kill(job_of, monkeypatch):
    job = job_of("masked writes")
    kill(job, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(attach, "load_model", lambda *a: _nudged(load_model(*a)))
        with pytest.raises(AssertionError, match="a frozen weight has changed"):
            run_condition(job, 1, scorer=positions)


def _nudged(model):
    """A model whose last norm differs by a bit."""
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-3
    return model


def starts_over(job, capsys):
    capsys.readouterr()
    run = run_condition(job, 1, scorer=positions)
    assert [row["after"] for row in run["scores"]] == [0, 1, 2, 3]
    said = capsys.readouterr().out
    assert "resuming" not in said
    return said


def test_another_identity_does_not_go_on(job_of, monkeypatch, capsys):
    job = job_of("sparse")
    kill(job, monkeypatch)
    starts_over(job | {"identity": "fedcba"}, capsys)


@pytest.mark.parametrize(
    "damage",
    ["truncated", "gone", "a bit", "half a state", "another step", "no sha256", "a list", "no state"],
)
def test_a_damaged_checkpoint_is_not_taken_for_whole(damage, job_of, monkeypatch, capsys):
    job = job_of("sparse")
    kill(job, monkeypatch)
    (tensors,) = job["resume"].glob("state-*.safetensors")
    state = job["resume"] / "state.json"
    if damage == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif damage == "gone":
        tensors.unlink()
    elif damage == "a bit":
        data = bytearray(tensors.read_bytes())
        data[-10] ^= 1
        tensors.write_bytes(data)
    elif damage == "half a state":
        state.write_text(state.read_text()[:200])
    elif damage == "another step":
        state.write_text(state.read_text().replace('"step": 2', '"step": 3'))
    elif damage == "no sha256":
        state.write_text(json.dumps({"value": json.loads(state.read_text())["value"]}))
    elif damage == "a list":
        state.write_text("[1]")
    else:
        state.unlink()
    output = starts_over(job, capsys)
    if damage in ("truncated", "gone", "a bit"):
        assert f"{tensors}: missing or changed, so the run starts from scratch" in output
    else:
        assert ("damaged, so the work that it keeps is repeated" in output) == (damage != "no state")


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_lost_weights_are_trained_again(damage, job_of, monkeypatch, capsys):
    job = job_of("sparse")
    kill(job, monkeypatch)
    path = weights_path(job["folder"], 1)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert "after_001.safetensors: missing or changed, so the run starts from scratch" in starts_over(
        job, capsys
    )


def test_a_checkpoint_cut_short_leaves_the_one_before(tmp_path, monkeypatch):
    with Resume(tmp_path, "id") as resume:
        resume.save({"task": 0, "step": 1}, {"a": torch.ones(3)})

        def fail(*_):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Resume, "_write", fail)
            with pytest.raises(Killed):
                resume.save({"task": 0, "step": 2}, {"a": torch.zeros(3)})
        data, tensors = resume.load()
        assert data["step"] == 1 and tensors["a"].tolist() == [1, 1, 1]
        resume.save({"task": 0, "step": 3}, {"a": torch.zeros(3)})
        assert len(list(tmp_path.glob("state-*"))) == 1 and resume.load()[0]["step"] == 3


def test_checkpoints_of_two_identities_never_share_a_file(tmp_path):
    with Resume(tmp_path, "one") as resume:
        resume.save({"task": 0, "step": 1}, {"a": torch.ones(3)})
        state = (tmp_path / "state.json").read_text()
    with Resume(tmp_path, "two") as resume:
        resume.save({"task": 0, "step": 1}, {"a": torch.zeros(3)})
    (tmp_path / "state.json").write_text(state)  # as if the second had died before its state was whole
    with Resume(tmp_path, "one") as resume:
        assert resume.load() is None


def hold(folder, ready, done):
    with Resume(folder, "id"):
        ready.set()
        done.wait(30)


def test_a_second_process_is_turned_away(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UserError, match="another process is training this run"):
            with Resume(tmp_path, "id"):
                pass
    finally:
        done.set()
        process.join()
    with Resume(tmp_path, "id") as resume:
        assert resume.load() is None


def test_checkpoints_are_due_by_the_clock(tmp_path, monkeypatch):
    with Resume(tmp_path, "id") as resume:
        assert not resume.due()
        now = time.monotonic() + resumes.EVERY + 1
        monkeypatch.setattr(time, "monotonic", lambda: now)
        assert resume.due()
        resume.save({"task": 0, "step": 1}, {"a": torch.ones(1)})
        assert not resume.due()


@pytest.mark.parametrize(("keep", "left"), [("all", [1, 2, 3]), ("last", [3]), ("none", [])])
def test_weights_that_are_kept(keep, left, job_of):
    job = job_of("sparse")
    run = run_condition(job, 1)
    finish(job["folder"] / "run.json", run)
    assert job["resume"].exists() and all(weights_path(job["folder"], i).is_file() for i in (1, 2, 3))
    clean_up(job["folder"], run, keep, job["resume"])
    assert not job["resume"].exists()
    assert [i for i in (1, 2, 3) if weights_path(job["folder"], i).is_file()] == left
    written = json.loads((job["folder"] / "run.json").read_text())
    assert datetime.fromisoformat(written.pop("finished")) <= datetime.now(UTC)
    assert written == json.loads(json.dumps(run))
