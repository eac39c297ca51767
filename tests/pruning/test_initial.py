"""Topologies at init: pruned before training, then pretrained under their mask on the rows of the dense base."""

import math

import numpy as np
import pytest
import torch

from sparse_continual.bases.sources import generated
from sparse_continual.models.load import load_model, prunable
from sparse_continual.pruning.make import make_topology
from sparse_continual.streams.tasks import make_split
from sparse_continual.topologies.topology import Topology
from sparse_continual.training import distillation, loop

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "layers": 2, "heads": 2, "kv_heads": 1}
BASE = {"source": "generated", "shape": SHAPE, "initial_weights": "scaled"}
PRETRAINING = {"steps": 12, "batch_size": 8, "learning_rate": 1e-2, "warmup": 3}
RECOVERY = {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "warmup": 0}
RANDOM = {"method": "random", "pattern": "unstructured", "sparsity": 0.5}
READS = {"calibration": {"sequences": 16}}
SEED = 5


def split(seed):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(4, 60, size=length) for length in rng.integers(5, 9, size=40)]
    return make_split(rows, [1] * len(rows))


MIXTURE = [(3, split(0)), (1, split(1))]


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("initial")
    assert generated.obtain(BASE, SEED, folder, []) == {}
    return folder


def made(initial, folder, topology, pretraining=PRETRAINING, recovery=None, **teacher):
    settings = {"topology": topology, "recovery": recovery, "pretraining": pretraining}
    facts, densities = make_topology(settings, initial, MIXTURE, folder, SEED, **teacher)
    return facts, densities, Topology.load(folder / Topology.FILE)


def test_pretraining_under_a_mask_is_dense_training_with_the_gradient_masked(initial, tmp_path, monkeypatch):
    """A plain loop of torch over the very batches that the dense base is pretrained on."""
    batches, collate = [], loop.collate
    monkeypatch.setattr(loop, "collate", lambda *a: batches.append(collate(*a)) or batches[-1])
    dense = generated.obtain({**BASE, "pretraining": PRETRAINING}, SEED, tmp_path / "dense", MIXTURE)
    monkeypatch.undo()
    facts, _, topology = made(initial, tmp_path / "sparse", RANDOM)
    assert {key: facts["pretraining"][key] for key in ("steps", "tokens")} == {
        key: dense[key] for key in ("steps", "tokens")
    }

    model = load_model(initial)
    masks = {name: topology.masks.get(name, torch.tensor(1.0)) for name, _ in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(masks[name])
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for number, batch in enumerate(batches):
        warm = (number + 1) / 3 if number < 3 else 0.55 + 0.45 * math.cos(math.pi * (number - 3) / 9)
        optimizer.param_groups[0]["lr"] = 1e-2 * warm
        optimizer.zero_grad()
        model(**batch).loss.backward()
        for name, parameter in model.named_parameters():
            parameter.grad.mul_(masks[name])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert len(batches) == 12
    trained, start = load_model(facts["folder"]), dict(load_model(initial).named_parameters())
    for (name, p), q in zip(trained.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=2e-5, msg=name)
        assert not torch.equal(p, start[name])


@pytest.mark.parametrize(
    "topology",
    [
        RANDOM,
        {**RANDOM, "allocation": "erk"},
        {"method": "random", "pattern": "2:4"},
        {**RANDOM, "method": "magnitude", "allocation": "global"},
        {**RANDOM, "method": "snip", **READS},
        {**RANDOM, "method": "imp", **READS, "steps": 5, "batch_size": 4, "learning_rate": 1e-2, "warmup": 0},
    ],
    ids=lambda topology: f"{topology['method']} {topology.get('allocation', topology['pattern'])}",
)
def test_what_stays_has_its_initial_value(initial, tmp_path, topology):
    """Seen at a rate of 0, by which pretraining changes nothing; imp has trained the weights meanwhile."""
    facts, densities, found = made(initial, tmp_path, topology, {**PRETRAINING, "learning_rate": 0.0})
    before, after = load_model(initial), load_model(facts["folder"])
    for (name, p), q in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(q, p.masked_fill(~found.masks[name], 0.0) if name in found.masks else p), name
    weights = sum(row["weights"] for row in densities)
    assert sum(row["nonzeros"] for row in densities) == weights // 2


def test_the_choice_is_made_before_training(initial, tmp_path):
    _, _, found = made(initial, tmp_path, {**RANDOM, "method": "magnitude"})
    for name, module in prunable(load_model(initial)).items():
        smallest = module.weight.detach().abs().flatten().argsort()[: module.weight.numel() // 2]
        assert not found.masks[name].flatten()[smallest].any() and found.masks[name].float().mean() == 0.5


def test_recovery_follows_with_the_topology_unchanged(initial, tmp_path):
    plain, _, one = made(initial, tmp_path / "one", RANDOM)
    facts, _, two = made(initial, tmp_path / "two", RANDOM, recovery=RECOVERY)
    assert one.sha256 == two.sha256 == facts["topology"]
    two.check(load_model(facts["folder"]))
    assert facts["pretraining"] == plain["pretraining"] and facts["recovery"]["steps"] == 4
    for p, q in zip(
        load_model(plain["folder"]).parameters(), load_model(facts["folder"]).parameters(), strict=True
    ):
        assert not torch.equal(p, q)


@pytest.fixture
def teachers(monkeypatch):
    """Weights of every teacher, as they are when it is engaged and as they are afterwards (the same tensors)."""
    seen = []

    class Spy(distillation.Distillation):
        def __init__(self, teacher, **settings):
            seen.append((settings, [p.detach().clone() for p in teacher.parameters()], teacher))
            super().__init__(teacher, **settings)

    monkeypatch.setattr(distillation, "Distillation", Spy)
    return seen


def test_the_teacher_is_the_dense_parent(initial, tmp_path, teachers):
    """At init the pretrained base, which is given; of a trained model the model as it was before it was pruned."""
    generated.obtain({**BASE, "pretraining": PRETRAINING}, SEED, tmp_path / "base", MIXTURE)
    recovery = {**RECOVERY, "distillation": {"squarehead": 1, "temperature": 1}}
    facts, _, topology = made(
        initial, tmp_path / "init", RANDOM, recovery=recovery, teacher=tmp_path / "base"
    )
    topology.check(load_model(facts["folder"]))
    for method in (RANDOM, {"method": "dense"}):
        settings = {"topology": method, "recovery": recovery}
        make_topology(settings, tmp_path / "base", MIXTURE, tmp_path / method["method"], SEED)
    parent = list(load_model(tmp_path / "base").parameters())
    assert len(teachers) == 3
    for settings, before, teacher in teachers:
        assert settings == recovery["distillation"]
        for p, q, r in zip(parent, before, teacher.parameters(), strict=True):
            assert torch.equal(p, q) and torch.equal(p, r)


def test_a_student_comes_nearer_to_its_teacher_and_tokens_are_counted(initial, tmp_path, teachers):
    generated.obtain({**BASE, "pretraining": PRETRAINING}, SEED, tmp_path / "base", MIXTURE)
    facts = {}
    for name, topology in (("dense", {"method": "dense"}), ("sparse", {**RANDOM, "method": "magnitude"})):
        for weight in (0.001, 5.0):
            recovery = {**RECOVERY, "steps": 30, "distillation": {"logits": 1e-6, "squarehead": weight}}
            settings = {"topology": topology, "recovery": recovery}
            folder = tmp_path / f"{name}_{weight}"
            found, _ = make_topology(settings, tmp_path / "base", MIXTURE, folder, SEED)
            facts[name, weight] = found["recovery"]
    assert len({(found["steps"], found["tokens"]) for found in facts.values()}) == 1
    for found in facts.values():
        assert found["distillation"].keys() == {"text", "logits", "squarehead", "teacher_tokens"}
        assert found["distillation"]["teacher_tokens"] == found["tokens"]
    for name in ("dense", "sparse"):
        near, far = (facts[name, weight]["distillation"]["squarehead"] for weight in (5.0, 0.001))
        assert near < 0.8 * far
    found = facts["sparse", 5.0]
    parts = found["distillation"]
    assert found["final_loss"] == pytest.approx(
        parts["text"] + 1e-6 * parts["logits"] + 5 * parts["squarehead"], rel=1e-5
    )
