"""A model with its topology: what is pruned, what is trained on, what the manifest and the densities say."""

import json

import pytest
import torch

from sparse_continual.errors import UserError
from sparse_continual.integrity import read_manifest, write_manifest
from sparse_continual.models.load import load_model, load_tokenizer, prunable, save_model
from sparse_continual.pruning import make
from sparse_continual.streams.lexicon import tokenizer
from sparse_continual.streams.tasks import make_split
from sparse_continual.topologies.topology import Topology

RECOVERY = {"steps": 4, "batch_size": 6, "learning_rate": 1e-3, "warmup": 1}
SPARSE = {"method": "magnitude", "pattern": "2:4"}


@pytest.fixture
def source(llama, tmp_path):
    words = tokenizer()
    save_model(llama(vocab_size=len(words)), words, tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def mixture(rows):
    return [(1, make_split(rows.numpy(), [1] * len(rows)))]


def made(topology, recovery, source, mixture, folder, seed=3):
    settings = {"topology": topology, "recovery": recovery}
    return make.make_topology(settings, source, mixture, folder, seed)


def test_a_pruned_model_keeps_the_largest_and_its_ends(source, tmp_path):
    facts, densities = made(SPARSE, None, source, [], tmp_path / "made")
    before, after = load_model(source), load_model(facts["folder"])
    linears = prunable(before)
    topology = Topology.load(tmp_path / "made" / "topology.safetensors")
    assert topology.sha256 == facts["topology"]
    for (name, p), q in zip(before.named_parameters(), after.parameters(), strict=True):
        if name not in linears:
            assert torch.equal(p, q)
            continue
        groups = p.detach().abs().view(-1, 4)
        kept = torch.zeros_like(groups, dtype=bool).scatter_(1, groups.topk(2).indices, True).view_as(p)
        assert torch.equal(topology.masks[name], kept)
        assert torch.equal(q, torch.where(kept, p, 0.0))
    assert [row["matrix"] for row in densities] == list(linears)
    assert {(row["density"], row["pattern"]) for row in densities} == {(0.5, "2:4")}
    assert sum(row["nonzeros"] for row in densities) == sum(
        int(mask.sum()) for mask in topology.masks.values()
    )


def test_recovery_keeps_the_topology_and_trains_the_rest(source, mixture, tmp_path):
    facts, densities = made(SPARSE, RECOVERY, source, mixture, tmp_path / "made")
    model, topology = load_model(facts["folder"]), Topology.load(tmp_path / "made" / "topology.safetensors")
    topology.check(model)
    unrecovered = load_model(made(SPARSE, None, source, [], tmp_path / "plain")[0]["folder"])
    plain = Topology.load(tmp_path / "plain" / "topology.safetensors")
    assert topology.sha256 == plain.sha256
    for p, q in zip(model.parameters(), unrecovered.parameters(), strict=True):
        assert not torch.equal(p, q)
    assert facts["recovery"]["steps"] == 4 and facts["recovery"]["tokens"] == 4 * 6 * 20
    assert {row["density"] for row in densities} == {0.5}


def test_the_dense_model_gets_the_same_rows(source, mixture, tmp_path, monkeypatch):
    seen = {}

    def training(name):
        def train(model, places, ends, mixture, settings, seed):
            seen[name] = (settings, seed, [split.tokens.tolist() for _, split in mixture])
            return {}

        return train

    for name, topology in (("dense", {"method": "dense"}), ("sparse", SPARSE)):
        monkeypatch.setattr(make, "train_on_mixture", training(name))
        made(topology, RECOVERY, source, mixture, tmp_path / name)
    assert seen["dense"] == seen["sparse"]


def test_a_dense_model_without_recovery_is_used_in_place(source, tmp_path):
    facts, densities = made({"method": "dense"}, None, source, [], tmp_path / "made")
    assert facts == {"folder": source, "trust_remote_code": False}
    assert {(row["density"], row["pattern"]) for row in densities} == {(1.0, "dense")}
    assert not (tmp_path / "made").exists()


def test_a_checkpoint_that_is_sparse_itself_is_no_dense_model(source, mixture, tmp_path):
    """Absent weights of a pruned checkpoint would grow. A few zeros are none; pruning it further is fine."""
    model, worst = load_model(source), "model.layers.1.mlp.down_proj.weight"
    weight, weights = model.get_parameter(worst), sum(m.weight.numel() for m in prunable(model).values())

    def with_zeros(count):
        weight.data.flatten()[:count] = 0
        save_model(model, tokenizer(), source)
        return made({"method": "dense"}, RECOVERY, source, mixture, tmp_path / str(count))

    with_zeros(weights // 20)
    with pytest.raises(UserError) as caught:
        with_zeros(weights // 20 + 1)
    share = (weights // 20 + 1) / weight.numel()
    assert f"5.0% of its block weights are exactly zero ({share:.1%} of {worst})" in str(caught.value)
    assert "expected a dense checkpoint" in str(caught.value)
    made(SPARSE, None, source, [], tmp_path / "sparse")


def test_equal_seeds_make_equal_bytes(source, mixture, tmp_path):
    models = [
        made(SPARSE, RECOVERY, source, mixture, tmp_path / str(i), seed)[0]["folder"] / "model.safetensors"
        for i, seed in enumerate((3, 3, 4))
    ]
    one, again, other = (path.read_bytes() for path in models)
    assert one == again != other


def test_calibration_reads_every_entry_of_the_mixture(source, rows, tmp_path, monkeypatch):
    """Of two entries with 12 rows each, 20 sequences must take from both."""
    halves = [(1, make_split(rows[:12].numpy(), [1] * 12)), (3, make_split(rows[12:].numpy(), [1] * 12))]
    seen = []
    rows_of_split = make.rows_of_split
    monkeypatch.setattr(make, "rows_of_split", lambda *a: seen.extend(rows_of_split(*a)) or seen)
    topology = {"method": "wanda", "pattern": "2:4", "calibration": {"sequences": 20}}
    made(topology, None, source, halves, tmp_path / "made")
    wanted = {tuple(row.tolist()) for row in rows}
    assert len(seen) == 20 and {tuple(row.tolist()) for row in seen} < wanted


def test_without_a_mixture_the_model_is_calibrated_on_its_own_text(source, tmp_path):
    topology = {"method": "wanda", "pattern": "2:4", "calibration": {"sequences": 4, "tokens": 8}}
    one, again = (made(topology, None, source, [], tmp_path / name)[0] for name in ("one", "again"))
    assert one["topology"] == again["topology"] and one["record"] == again["record"]
    assert one["topology"] != made(SPARSE, None, source, [], tmp_path / "other")[0]["topology"]


@pytest.mark.parametrize(
    "topology",
    [
        {"method": "shuffled", "of": "wanda", "within": "row", "options": {}, "sparsity": 0.6},
        {"method": "magnitude", "sparsity": 0.6, "allocation": {"name": "owl", "m": 3}},
        {"method": "gmp", "sparsity": 0.6, "steps": 3, "batch_size": 2},
        {"method": "wanda", "sparsity": 0.6, "counts": "reference"},
        {"method": "random", "sparsity": 0.6, "allocation": "erk"},
    ],
)
def test_settings_of_the_config_reach_the_method(source, mixture, tmp_path, monkeypatch, topology):
    monkeypatch.setitem(make.DEFAULTS, "sequences", 12)
    calibration = {} if topology["method"] in ("magnitude", "random") else {"calibration": {"sequences": 12}}
    facts, densities = made(
        {"pattern": "unstructured", **topology, **calibration}, None, source, mixture, tmp_path / "m"
    )
    record = facts["record"]
    assert all(record["options"].get(key, record.get(key)) == value for key, value in topology.items())
    assert (record["calibration"] is not None) == (topology["method"] != "random")
    kept = sum(row["nonzeros"] for row in densities)
    exact = topology.get("counts") != "reference"
    assert (kept == round(0.4 * sum(row["weights"] for row in densities))) == exact


CUSTOM = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own_llama"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_a_model_with_its_own_code_is_trusted_only_when_asked(source, tmp_path, monkeypatch):
    """The key travels from the source's facts through the manifests to every load."""
    from sparse_continual.bases.facts import facts_of
    from sparse_continual.runs.attach import start
    from sparse_continual.runs.inputs import located
    from sparse_continual.streams.tasks import save_tasks

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (source / "own.py").write_text(CUSTOM)
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "own_llama", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot load it as a causal language model"):
        facts_of(source)

    facts = facts_of(source, True)
    assert facts["trust_remote_code"] is True
    write_manifest(tmp_path / "m" / "manifest.json", facts.pop("folder"), **facts)
    manifest = read_manifest(tmp_path / "m" / "manifest.json")
    settings = {"topology": SPARSE, "recovery": None}
    facts, _ = make.make_topology(
        settings, manifest["folder"], [], tmp_path / "t", 0, manifest["trust_remote_code"]
    )
    assert facts["trust_remote_code"] is True
    write_manifest(tmp_path / "t" / "manifest.json", facts.pop("folder"), **facts)
    save_tasks(tmp_path / "s" / "tasks", [])
    write_manifest(tmp_path / "s" / "manifest.json", tmp_path / "s" / "tasks")
    job = located(tmp_path / "t" / "manifest.json", tmp_path / "s" / "manifest.json") | {"seed": 0}
    assert job["trust_remote_code"] is True
    arm = {
        "mechanism": {"kind": "finetune"},
        "locked": True,
        "sparse": True,
        "writes": "all",
        "ends": "frozen",
    }
    assert type(start(arm, job).setting.model).__name__ == "OwnModel"
    with pytest.raises(UserError, match="cannot load it as a causal language model"):
        start(arm, job | {"trust_remote_code": False})
    assert len(load_tokenizer(job["model"], True)) == len(tokenizer())
