"""Methods that remove whole heads and channels as topologies of a study: counted is planned, and shapes stay."""

import pytest
import torch
from layers import method

from sparse_continual import Topology
from sparse_continual.budgets.price import price
from sparse_continual.models.load import load_model, prunable, save_model
from sparse_continual.pruning.check import check
from sparse_continual.pruning.make import make_topology

TRAINING = {"steps": 4, "every": 2, "batch_size": 4}
ARMS = {"llm_pruner": {}, "loraprune": TRAINING}


def priced(shape, topology):
    """Planned nonzeros of a condition with this topology."""
    row = {
        "condition": "heads",
        "base": "tiny",
        "topology": "heads",
        "pattern": topology["pattern"],
        "sparsity": topology["sparsity"],
        "whole": topology["first"] + topology["last"],
        "mechanism": {"kind": "finetune"},
        "locked": True,
        "writes": "all",
        "ends": "frozen",
        "shape": {**shape, "vocabulary": 64},
        "row_tokens": 12,
        "answer_tokens": 3,
        "train_items": 8,
        "steps": 1,
        "batch_size": 1,
        "tasks": 2,
        "blocks": 1,
        "tuning_steps": 0,
        "asked_steps": 0,
        "match": None,
        "making": None,
    }
    return price([row])[0]["nonzeros"]


@pytest.mark.parametrize("sparsity", [0.5, 0.4])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("name", ARMS)
def test_counted_is_planned(llama, shape, tmp_path, name, last, sparsity):
    from sparse_continual.streams.lexicon import tokenizer

    method(name)
    torch.manual_seed(0)
    save_model(llama(vocab_size=len(tokenizer())), tokenizer(), tmp_path / "base")
    topology = {
        "method": name,
        "pattern": "structured",
        "sparsity": sparsity,
        "export": "masked",
        **ARMS[name],
    }
    topology |= {"first": 0, "last": last, "calibration": {"sequences": 4, "tokens": 8}}
    settings = {"topology": topology, "recovery": None}
    facts, densities = make_topology(settings, tmp_path / "base", [], tmp_path / "made", 3)
    made = Topology.load(tmp_path / "made" / Topology.FILE)
    planned = check(topology, shape)
    assert sum(row["nonzeros"] for row in densities) == planned == priced(shape, topology)
    assert sum(int(mask.sum()) for mask in made.masks.values()) == planned
    patterns = {row["pattern"] for row in densities}
    assert "structured" in patterns and patterns <= {"structured", "dense"}
    assert {row["pattern"] for row in densities if row["layer"] == 1 and last} <= {"dense"}
    model = load_model(facts["folder"])
    assert {n: m.weight.shape for n, m in prunable(model).items()} == {
        n: m.shape for n, m in made.masks.items()
    }
    made.check(model)
