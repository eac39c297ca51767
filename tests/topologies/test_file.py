"""The topology file: bits, hash, damage, and the density table counted from masks."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from sparse_continual.errors import UserError
from sparse_continual.models.load import prunable
from sparse_continual.topologies import file
from sparse_continual.topologies.density import densities_of_masks
from sparse_continual.topologies.topology import Topology

Q, DOWN = "model.layers.10.self_attn.q_proj.weight", "model.layers.2.mlp.down_proj.weight"


@pytest.fixture
def topology():
    generator = torch.Generator().manual_seed(0)
    free = torch.rand(5, 7, generator=generator) < 0.4
    paired = torch.tensor([[1, 1, 0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0, 0, 1]]).bool()
    return Topology({DOWN: free, Q: paired}, "2:4", "made")


def test_bits_are_row_major_and_little_endian():
    mask = np.zeros((2, 5), dtype=bool)
    mask[0, 0] = mask[0, 3] = mask[1, 4] = True  # flat places 0, 3 and 9
    assert file.pack(mask).tolist() == [0b00001001, 0b00000010]
    assert file.count(file.pack(mask)) == 3


def test_pack_and_unpack_are_inverse():
    draw = np.random.default_rng(0)
    for rows, columns in [(1, 1), (3, 3), (8, 8), (5, 13), (1, 64)]:
        mask = draw.random((rows, columns)) < 0.5
        packed = file.pack(mask)
        by_hand = [int(mask.flat[i]) << (i % 8) for i in range(mask.size)]
        assert packed.tolist() == [sum(by_hand[i : i + 8]) for i in range(0, mask.size, 8)]
        assert (file.unpack(packed, (rows, columns)) == mask).all()


def test_round_trip(topology, tmp_path):
    topology.save(tmp_path / "topology.safetensors")
    again = Topology.load(tmp_path / "topology.safetensors")
    assert list(again.masks) == [DOWN, Q]
    assert all(torch.equal(again.masks[name], mask) for name, mask in topology.masks.items())
    assert (again.pattern, again.method, again.sha256) == ("2:4", "made", topology.sha256)


def test_the_experts_of_one_parameter_keep_their_shape(tmp_path):
    mask = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    topology = Topology({"model.layers.0.mlp.experts.down_proj": mask}, "unstructured", "made")
    topology.save(tmp_path / "topology.safetensors")
    again = Topology.load(tmp_path / "topology.safetensors")
    (found,) = again.masks.values()
    assert torch.equal(found, mask) and again.density == topology.density and again.sha256 == topology.sha256
    (name,) = topology.masks
    assert Topology({name: mask.flatten(0, 1)}, "", "").sha256 != topology.sha256


def test_equal_topologies_give_equal_bytes(topology, tmp_path):
    topology.save(tmp_path / "a")
    topology.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_hash_is_stable_and_sensitive(topology):
    """The literal guards against any later change of the definition."""
    fixed = Topology({"a": torch.eye(3).bool()}, "unstructured", "made")
    assert fixed.sha256 == "8c4a8003aefcadbb3e46763a6ee355de1ca00f72c11fa269b14cd79dc4d58936"
    other = {name: mask.clone() for name, mask in topology.masks.items()}
    reordered = Topology(dict(reversed(other.items())), "unstructured", "other words")
    assert reordered.sha256 == topology.sha256
    other[DOWN][4, 6] ^= True
    assert Topology(other, "2:4", "made").sha256 != topology.sha256
    mask = topology.masks[Q]
    assert Topology({Q: mask}, "", "").sha256 != Topology({Q: mask.view(4, 4)}, "", "").sha256
    assert Topology({Q: mask}, "", "").sha256 != Topology({DOWN: mask}, "", "").sha256


def rewrite(path, change):
    """Change arrays and facts of a topology file in place."""
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        facts = json.loads(file.metadata()["topology"])
    change(arrays, facts)
    save_file(arrays, path, metadata={"topology": json.dumps(facts)})


DAMAGE = {
    "flipped": (lambda arrays, facts: arrays[DOWN].__setitem__(0, arrays[DOWN][0] ^ 1), "SHA-256"),
    "short": (lambda arrays, facts: arrays.__setitem__(DOWN, arrays[DOWN][:-1]), "expected uint8 .* .5."),
    "type": (lambda arrays, facts: arrays.__setitem__(DOWN, arrays[DOWN].astype(np.int32)), "found int32"),
    "matrix": (lambda arrays, facts: arrays.pop(Q), "q_proj.*missing"),
    "no shape": (lambda arrays, facts: facts["shapes"].pop(Q), "q_proj.*missing"),
    "no facts": (lambda arrays, facts: facts.pop("pattern"), "not a topology file"),
    "bad shape": (lambda arrays, facts: facts["shapes"].__setitem__(Q, [1]), "not a topology file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named(topology, tmp_path, damage):
    path = tmp_path / "topology.safetensors"
    topology.save(path)
    change, words = DAMAGE[damage]
    rewrite(path, change)
    with pytest.raises(UserError, match=f"{path}.*{words}"):
        Topology.load(path)


@pytest.mark.parametrize("length", [0, 4, 60, -1])
def test_truncated_files_are_named(topology, tmp_path, length):
    path = tmp_path / "topology.safetensors"
    topology.save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=f"{path}.*not a whole safetensors file"):
        Topology.load(path)


def test_files_that_are_no_topologies(tmp_path):
    with pytest.raises(UserError, match="no such topology file"):
        Topology.load(tmp_path / "none")
    save_file({"a": np.zeros(3, dtype=np.uint8)}, tmp_path / "model")
    with pytest.raises(UserError, match="model: not a topology file"):
        Topology.load(tmp_path / "model")


def test_densities_are_counted_not_believed(topology):
    masks = {name: mask.numpy() for name, mask in topology.masks.items()}
    masks["model.layers.0.mlp.up_proj.weight"] = np.ones((2, 4), bool)
    table = densities_of_masks(masks, "2:4")
    assert [(r["layer"], r["module"], r["pattern"]) for r in table] == [
        (0, "up_proj", "dense"),
        (2, "down_proj", "unstructured"),
        (10, "q_proj", "2:4"),
    ]
    assert table[2] == {
        "matrix": Q,
        "layer": 10,
        "module": "q_proj",
        "weights": 16,
        "nonzeros": 8,
        "density": 0.5,
        "pattern": "2:4",
    }
    masks[Q][0] = np.array([1, 1, 1, 0, 0, 1, 0, 0], bool)  # as many, but 3 and 1
    assert densities_of_masks(masks, "2:4")[2]["pattern"] == "unstructured"


def test_check_names_the_tensor(llama):
    model = llama()
    name = "model.layers.1.mlp.up_proj.weight"
    weight = model.get_parameter(name)
    masks = {n: torch.ones_like(module.weight).bool() for n, module in prunable(model).items()}
    masks[name][3, 5] = False
    topology = Topology(masks, "unstructured", "made")
    with pytest.raises(UserError, match=f"{name}: 1 weights"):
        topology.check(model)
    weight.data[3, 5] = 0
    topology.check(model)
    weight.data[3, 5] = float("nan")
    with pytest.raises(UserError, match=name):
        topology.check(model)
    with pytest.raises(UserError, match="absent_matrix"):
        Topology({"absent_matrix": masks[name]}, "unstructured", "made").check(model)
    with pytest.raises(UserError, match="48 x 32, the topology's 48 x 31"):
        Topology({name: masks[name][:, 1:]}, "unstructured", "made").check(model)


def test_check_names_a_matrix_that_only_the_model_has(llama):
    """A deeper model, whose further blocks are dense."""
    model = llama()
    topology = Topology({n: m.weight != 0 for n, m in prunable(model).items()}, "unstructured", "made")
    topology.check(model)
    with pytest.raises(UserError, match="^model.layers.2.self_attn.q_proj.weight: .* the topology has not"):
        topology.check(llama(num_hidden_layers=3))


def test_check_takes_a_model(topology):
    with pytest.raises(UserError, match="^model: found str, expected a causal language model"):
        topology.check("model")


def test_the_name_of_a_folder_is_no_file(topology, tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}: is a folder.* {tmp_path}/topology.safetensors$"):
        topology.save(tmp_path)
