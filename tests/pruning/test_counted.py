"""The zeros of a checkpoint as its topology: all of them, nothing else, and nothing is changed."""

import pytest
import torch

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model, prunable, save_model
from sparse_continual.pruning.check import agreed
from sparse_continual.pruning.make import make_topology
from sparse_continual.streams.lexicon import tokenizer
from sparse_continual.streams.tasks import make_split
from sparse_continual.topologies.topology import Topology

COUNTED = {"method": "counted"}


@pytest.fixture
def checkpoint(llama, tmp_path):
    """A function (masks by name) -> folder of a checkpoint with zeros, every other one of them -0.0."""

    def make(mask_of):
        words = tokenizer()
        model = llama(vocab_size=len(words))
        for name, module in prunable(model).items():
            zeros = torch.zeros_like(module.weight)
            zeros.view(-1)[::2] = -0.0
            module.weight.data = torch.where(mask_of(name, module.weight), module.weight, zeros)
        save_model(model, words, tmp_path / "checkpoint")
        return tmp_path / "checkpoint"

    return make


def pairs(name, weight):
    """2:4: of four neighbours the second and the third."""
    return (torch.arange(weight.shape[1]) % 4 // 2 != torch.arange(weight.shape[1]) % 2).expand_as(weight)


def scattered(name, weight):
    generator = torch.Generator().manual_seed(len(name))
    return torch.rand(weight.shape, generator=generator) < 0.4


def made(folder, target, recovery=None, mixture=()):
    return make_topology({"topology": COUNTED, "recovery": recovery}, folder, list(mixture), target, 3)


@pytest.mark.parametrize(("mask_of", "pattern"), [(pairs, "2:4"), (scattered, "unstructured")])
def test_every_zero_and_nothing_else(checkpoint, tmp_path, mask_of, pattern):
    source = checkpoint(mask_of)
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    facts, densities = made(source, tmp_path / "made")
    topology = Topology.load(tmp_path / "made" / "topology.safetensors")
    assert (topology.pattern, topology.method, topology.sha256) == (pattern, "counted", facts["topology"])
    for name, module in prunable(load_model(source)).items():
        assert torch.equal(topology.masks[name], mask_of(name, module.weight)), name
    assert facts["folder"] == source and not (tmp_path / "made" / "model").exists()
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before
    assert {row["pattern"] for row in densities} == {pattern}
    assert [row["nonzeros"] for row in densities] == [int(mask.sum()) for mask in topology.masks.values()]


def test_matrices_of_different_patterns_make_no_pattern(checkpoint, tmp_path):
    source = checkpoint(lambda name, weight: (pairs if "mlp" in name else scattered)(name, weight))
    _, densities = made(source, tmp_path / "made")
    assert Topology.load(tmp_path / "made" / "topology.safetensors").pattern == "unstructured"
    assert {("mlp" in row["matrix"], row["pattern"]) for row in densities} == {
        (True, "2:4"),
        (False, "unstructured"),
    }


def test_thin_and_empty_matrices_have_the_pattern_of_the_others(checkpoint, tmp_path):
    """The one rule of the audit: what is empty or dense has any pattern, and a thin matrix that of the others."""

    def mask_of(name, weight):
        whole = torch.full(weight.shape, "v_proj" in name)
        if "o_proj" in name or "v_proj" in name:
            return whole
        thin = scattered(name, weight) & scattered(name[:-9], weight) & scattered(name[:-12], weight)
        return pairs(name, weight) & (thin if "k_proj" in name else ~whole)

    source = checkpoint(mask_of)
    _, densities = made(source, tmp_path / "made")
    assert Topology.load(tmp_path / "made" / "topology.safetensors").pattern == "2:4"
    from sparse_continual.auditing.audit import audit

    assert audit(source, entry={"pattern": "2:4", "sparsity": None})["pattern"] == "2:4"
    assert {row["pattern"] for row in densities if "k_proj" in row["matrix"]} <= {"2:4", "1:4"}


def test_recovery_trains_what_exists_alone(checkpoint, rows, tmp_path):
    mixture = [(1, make_split(rows.numpy(), [1] * len(rows)))]
    recovery = {"steps": 3, "batch_size": 6, "learning_rate": 1e-3, "warmup": 1}
    source = checkpoint(scattered)
    facts, _ = made(source, tmp_path / "made", recovery, mixture)
    topology, after = Topology.load(tmp_path / "made" / "topology.safetensors"), load_model(facts["folder"])
    topology.check(after)
    before = prunable(load_model(source))
    for name, module in prunable(after).items():
        moved = module.weight != before[name].weight
        assert moved.any() and not moved[~topology.masks[name]].any()
    assert facts["folder"] == tmp_path / "made" / "model"


def test_a_dense_checkpoint_is_refused(checkpoint, tmp_path):
    source = checkpoint(lambda name, weight: torch.arange(weight.shape[1]).expand_as(weight) != 0)
    with pytest.raises(UserError) as caught:
        made(source, tmp_path / "made")
    zeros = {
        weight.weight.shape: 1 / weight.weight.shape[1] for weight in prunable(load_model(source)).values()
    }
    assert f"{source}: the checkpoint is not sparse: " in str(caught.value)
    assert f"({max(zeros.values()):.1%} of " in str(caught.value) and "`method: dense`" in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_a_pattern_is_not_asked_for():
    agreed(COUNTED)
    with pytest.raises(UserError, match="method counted: found pattern '2:4', expected none"):
        agreed({**COUNTED, "pattern": "2:4"})
    assert registry.load("pruning.methods", "counted").needs_calibration is False
