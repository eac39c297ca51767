"""What is measured while a model is made, against sums over tokens written out one by one."""

import math

import pytest
import torch

from sparse_continual import prune
from sparse_continual.models.load import load_model, prunable, save_model
from sparse_continual.pruning import make, measure
from sparse_continual.pruning.tables import MEASURED
from sparse_continual.streams.lexicon import tokenizer
from sparse_continual.streams.tasks import Task, make_split, whole

RECOVERY = {"steps": 3, "batch_size": 6, "learning_rate": 1e-3, "warmup": 1}
SPARSE = {"method": "magnitude", "pattern": "2:4"}


def task_of(rows, answers=1, **more):
    split = make_split(rows.numpy(), [answers] * len(rows), **more)
    return Task("base", "tokens", split, split, split, whole(0.1))


@pytest.fixture
def source(llama, tmp_path):
    words = tokenizer()
    save_model(llama(vocab_size=len(words), bos_token_id=1), words, tmp_path / "source")
    return tmp_path / "source"


def nats_by_token(model, rows, first):
    found = []
    for row in rows:
        logits = model(input_ids=row[None]).logits[0].double().log_softmax(-1)
        found += [-float(logits[place - 1, row[place]]) for place in range(first, len(row))]
    return found


@torch.no_grad()
def test_loss_is_the_mean_over_counted_tokens_and_shares(llama, rows):
    model = llama()
    short = rows[:5, :9]
    entries = [(3, task_of(rows, 4).test), (1, task_of(short).test)]
    wanted = [nats_by_token(model, rows, 4), nats_by_token(model, short, 1)]
    means = [sum(found) / len(found) for found in wanted]
    nats, tokens = measure.loss(model, entries)
    assert nats == pytest.approx((3 * means[0] + means[1]) / 4, rel=1e-5)
    assert tokens == sum(map(len, wanted))


@torch.no_grad()
def test_of_options_the_right_row_is_read(llama, rows):
    model = llama()
    split = task_of(rows[:4], 15, items=[0, 0, 1, 1], correct=[1, 0], parts=[0, 0]).test
    wanted = nats_by_token(model, rows[[1, 2]], 15)
    assert measure.loss(model, [(1, split)])[0] == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)


@torch.no_grad()
def test_errors_are_those_of_outputs_that_hooks_see(llama, rows):
    """Of the dense model's inputs, which a hook keeps whole, through the matrix before and after."""
    dense, pruned = llama(), llama()
    prune(pruned, "magnitude", sparsity=0.5)
    name = "model.layers.1.mlp.down_proj.weight"
    with torch.no_grad():  # one matrix as it was, one twice as large
        pruned.get_parameter("model.layers.0.mlp.up_proj.weight").copy_(
            dense.get_parameter("model.layers.0.mlp.up_proj.weight")
        )
        twice = "model.layers.0.self_attn.q_proj.weight"
        pruned.get_parameter(twice).copy_(2 * dense.get_parameter(twice))
    seen = []
    linears = prunable(dense)
    handle = linears[name].register_forward_pre_hook(lambda module, args: seen.append(args[0][0].double()))
    for row in rows:
        dense(input_ids=row[None])
    handle.remove()
    x = torch.cat(seen).T
    before, after = (model.get_parameter(name).double() for model in (dense, pruned))
    found = {row["matrix"]: row for row in measure.layer_errors(dense, pruned, list(rows))}
    assert list(found) == list(linears)
    assert found[name]["error"] == pytest.approx(float(((before - after) @ x).norm() / (before @ x).norm()))
    assert (found[name]["layer"], found[name]["module"]) == (1, "down_proj")
    assert found["model.layers.0.mlp.up_proj.weight"]["error"] == 0
    assert found[twice]["error"] == pytest.approx(1)


def test_a_matrix_whose_outputs_are_zero(llama, rows):
    dense, same, other = llama(), llama(), llama()
    name = "model.layers.0.mlp.gate_proj.weight"
    for model in (dense, same):
        model.get_parameter(name).data.zero_()
    for model, error in ((same, 0), (other, math.inf)):
        found = {row["matrix"]: row["error"] for row in measure.layer_errors(dense, model, list(rows[:4]))}
        assert found[name] == error


def test_every_stage_is_measured_and_changes_nothing(source, rows, tmp_path):
    settings = {"topology": SPARSE, "recovery": RECOVERY}
    task = task_of(rows)
    mixture, made = [(1, task.train)], []
    watch = measure.Watch([(1, task)], 3)
    for name, own in (("plain", None), ("watched", watch)):
        facts, _ = make.make_topology(settings, source, mixture, tmp_path / name, 3, watch=own)
        made.append((facts["folder"] / "model.safetensors").read_bytes())
    assert made[0] == made[1]
    perplexities = {row["stage"]: row["perplexity"] for row in watch.rows["perplexities"]}
    assert list(perplexities) == ["base", "pruned", "recovered"]
    for stage, model in (("base", source), ("recovered", facts["folder"])):
        with torch.no_grad():
            nats = nats_by_token(load_model(model), rows, 1)
        assert perplexities[stage] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert [row["matrix"] for row in watch.rows["layer_errors"]] == list(prunable(load_model(source)))
    assert all(0 < row["error"] < 1 for row in watch.rows["layer_errors"])
    costs = watch.rows["costs"]
    assert [row["stage"] for row in costs] == ["pruned", "recovered"]
    assert all(row["seconds"] > 0 and row["peak_bytes"] > row["added_bytes"] >= 0 for row in costs)
    for table in MEASURED:
        assert all(list(row) == table.names[2:] for row in watch.rows[table.name])


def test_a_dense_model_has_no_stage_of_pruning(source, rows, tmp_path):
    watch = measure.Watch([(1, task_of(rows))], 3)
    settings = {"topology": {"method": "dense"}, "recovery": None}
    make.make_topology(settings, source, [], tmp_path / "made", 3, watch=watch)
    assert [row["stage"] for row in watch.rows["perplexities"]] == ["base"]
    assert watch.rows["layer_errors"] == watch.rows["costs"] == []


def test_pretraining_under_a_mask_is_a_stage(source, rows, tmp_path):
    task = task_of(rows)
    watch = measure.Watch([(1, task)], 3)
    settings = {"topology": SPARSE, "recovery": None, "pretraining": RECOVERY}
    make.make_topology(settings, source, [(1, task.train)], tmp_path / "made", 3, watch=watch)
    assert [row["stage"] for row in watch.rows["perplexities"]] == ["base", "pruned", "trained"]


def test_a_base_without_a_mixture_is_read_on_its_own_text(source):
    """Text that a model writes itself is as likely as it says: its mean loss is the entropy of what it says."""
    model = load_model(source)
    watch = measure.Watch([], 3)
    watch("base", model)
    (found,) = watch.rows["perplexities"]
    rows = torch.tensor([split.row(i).tolist() for _, split in watch.held for i in range(split.rows)])
    assert rows.shape == (128, 64) and not torch.equal(rows, torch.stack(watch.calibration))
    with torch.no_grad():
        logits = model(input_ids=rows).logits[:, :-1].double().log_softmax(-1)
    entropy = -(logits.exp() * logits).sum(-1).mean()
    assert math.log(found["perplexity"]) == pytest.approx(float(entropy), rel=0.01)


def test_measures_of_layers_are_on_rows_that_all_methods_read(llama, rows):
    task = task_of(torch.cat([rows] * 6) + torch.arange(144)[:, None] % 7)
    watch = measure.Watch([(1, task)], 3)
    watch.mixture[0][1].train.tokens[:] %= 64
    watch("base", llama())
    from sparse_continual.identity import seed_of
    from sparse_continual.streams.calibration import rows_of_split

    own = rows_of_split(task.train, 128, seed_of("calibration", 3))
    assert all(torch.equal(a, b) for a, b in zip(watch.calibration, own, strict=True))
