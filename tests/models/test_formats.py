"""Sparse formats: what an encoder of the tests wrote, bit by bit, comes back, and damaged files are refused."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from encoded import bitmask, bitmask24, encode, shard
from safetensors.torch import load_file, save_file

from sparse_continual.errors import UserError
from sparse_continual.models import reader
from sparse_continual.models.checkpoint import check_checkpoint
from sparse_continual.models.load import load_model
from sparse_continual.models.reader import Checkpoint, tensors
from sparse_continual.topologies import zeros

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
SPARSITY = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"}}
LINEAR = "_proj.weight"


def weight(rows, columns, dtype, seed=0, share=0.5):
    """Random values with zeros, a few of them -0.0, and the last row all zeros."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator)
    values[torch.rand(rows, columns, generator=generator) < share] = 0
    values[torch.rand(rows, columns, generator=generator) < 0.1] = -0.0
    values[-1] = 0
    return values.to(dtype)


def two_of_four(rows, columns, dtype, seed=0):
    """Random 2:4 values in which one group of four keeps none and one keeps one."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows * columns // 4, 4, generator=generator)
    values[torch.arange(len(values)), torch.randint(0, 2, (len(values),), generator=generator)] = 0
    values[torch.arange(len(values)), torch.randint(2, 4, (len(values),), generator=generator)] = -0.0
    values[0] = 0
    values[-1, :3] = 0
    return values.reshape(rows, columns).to(dtype)


def words(tensor):
    return tensor.contiguous().view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()])


def same_values(one, other):
    """Equal as numbers, type and shape; -0.0 equals 0.0."""
    return one.dtype == other.dtype and torch.equal(one.double(), other.double())


def written(folder, parts):
    folder.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in parts.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("names", ["a.weight", "a"])
def test_bitmask_of_every_width(tmp_path, dtype, names):
    whole = {f"{width}.a.weight": weight(3, width, dtype, width) for width in range(1, 71)}
    stored = {
        f"{name.removesuffix('a.weight')}{names}.{part}": value
        for name, tensor in whole.items()
        for part, value in bitmask(tensor).items()
    }
    folder = written(tmp_path, stored)
    assert Checkpoint(folder).format == "sparse-bitmask"
    found = dict(tensors(folder))
    assert set(found) == set(whole)
    for name, tensor in whole.items():
        assert same_values(found[name], tensor), name
        assert not (words(found[name])[words(tensor) == words(torch.tensor(-0.0).to(dtype))]).any()


@pytest.mark.parametrize("dtype", TYPES)
def test_bitmask24_of_every_width(tmp_path, dtype):
    """Widths of even numbers with four rows: also those where groups of four run over the end of a row."""
    whole = {f"{width}.a.weight": two_of_four(4, width, dtype, width) for width in range(2, 71, 2)}
    stored = {
        f"{name.removesuffix('.weight')}.{part}": value
        for name, tensor in whole.items()
        for part, value in bitmask24(tensor).items()
    }
    folder = written(tmp_path, stored)
    assert Checkpoint(folder).format == "sparse-24-bitmask"
    assert all(same_values(tensor, whole[name]) for name, tensor in tensors(folder))


def test_vectors_and_empty_matrices(tmp_path):
    """Releases of 2024 encoded norms and biases too; a matrix may keep nothing."""
    whole = {
        "n.weight": torch.tensor([0.0, 2.0, -1.0]),
        "n.bias": torch.tensor([1.0, 0.0]),
        "m.weight": torch.zeros(5, 9),
        "e.weight": weight(6, 10, torch.float32).reshape(2, 3, 10),
    }
    folder = written(tmp_path, {f"{n}.{p}": v for n, t in whole.items() for p, v in bitmask(t).items()})
    found = dict(tensors(folder))
    assert set(found) == set(whole)
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def test_dense_tensors_are_mapped_and_private(tmp_path):
    large = weight(700, 800, torch.float32)  # over a MiB: mapped
    folder = written(
        tmp_path, {"large.weight": large, "small.weight": large[:2].clone(), "scalar": torch.tensor(3)}
    )
    before = (folder / "model.safetensors").read_bytes()
    found = dict(tensors(folder))
    assert Checkpoint(folder).format == "dense"
    assert torch.equal(words(found["large.weight"]), words(large)) and found["scalar"].shape == ()
    found["large.weight"].zero_()
    assert (folder / "model.safetensors").read_bytes() == before


DAMAGE = {
    "beyond": (
        lambda p: p["a.bitmask"].__setitem__((0, 1), p["a.bitmask"][0, 1] | 4),
        "beyond the width 10",
    ),
    "values": (lambda p: p.update({"a.compressed": p["a.compressed"][:-1]}), "bits are set, but .* values"),
    "bit": (
        lambda p: p["a.bitmask"].__setitem__((2, 0), 1),
        "bits are set, but",
    ),
    "width": (lambda p: p.update({"a.shape": torch.tensor([3, 17])}), r"expected uint8 of \[3, 3\]"),
    "rows": (lambda p: p.update({"a.shape": torch.tensor([4, 10])}), r"expected uint8 of \[4, 2\]"),
    "negative": (lambda p: p.update({"a.shape": torch.tensor([-3, 10])}), "recorded as"),
    "shape of floats": (
        lambda p: p.update({"a.shape": torch.tensor([float("nan"), 10])}),
        "'a.shape' is of type F32, expected one of I64",
    ),
    "values of integers": (
        lambda p: p.update({"a.compressed": p["a.compressed"].long()}),
        "'a.compressed' is of type I64, expected one of F64",
    ),
    "type": (lambda p: p.update({"a.bitmask": p["a.bitmask"].int()}), "expected uint8"),
    "no shape": (lambda p: p.pop("a.shape"), "needs one ending in .shape"),
    "no bits": (lambda p: p.pop("a.bitmask"), "needs one ending in .bitmask"),
    "no values": (lambda p: p.pop("a.compressed"), "needs one ending in .compressed"),
    "twice": (lambda p: p.update({"a.weight": torch.zeros(3, 10)}), "stored twice"),
    "packed": (lambda p: p.update({"b.weight_packed": torch.zeros(3, 10)}), "packed format"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_parts_are_named(tmp_path, damage):
    parts = {f"a.{part}": value for part, value in bitmask(weight(3, 10, torch.float32)).items()}
    change, words = DAMAGE[damage]
    change(parts)
    folder = written(tmp_path, parts)
    with pytest.raises(UserError, match=rf"model\.safetensors.*{words}") as caught:
        list(tensors(folder))
    assert "a" in str(caught.value) and "\n" not in str(caught.value)


def test_types_that_are_not_read_are_named(tmp_path):
    """One that torch has is read; of another, the rest of the checkpoint is."""
    whole = {"a.weight": torch.ones(2, 3), "b": torch.tensor([[1, 2]], dtype=torch.uint16)}
    folder = written(tmp_path / "in", whole | {"c": torch.zeros(2, 2, dtype=torch.float8_e8m0fnu)})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    checkpoint = Checkpoint(folder)
    assert all(torch.equal(checkpoint[name], tensor) for name, tensor in whole.items())
    for read in (lambda: checkpoint["c"], lambda: reader.decode(folder, tmp_path / "out")):
        with pytest.raises(UserError, match=r"model\.safetensors: tensor 'c' is of type F8_E8M0"):
            read()
    assert not (tmp_path / "out").exists()


def test_24_marks_two_of_every_four(tmp_path):
    parts = {f"a.{part}": value for part, value in bitmask24(two_of_four(2, 8, torch.float32)).items()}
    parts["a.bitmask"][0, 0] = 0b00110111  # three of the first four, two of the next
    with pytest.raises(UserError, match="a.weight: .*2 of every 4"):
        list(tensors(written(tmp_path, parts)))


def test_a_truncated_shard_is_named(llama_folder):
    encode(llama_folder, bitmask, lambda name: name.endswith(LINEAR))
    shard(llama_folder)
    file = llama_folder / "model-00002-of-00003.safetensors"
    os.truncate(file, file.stat().st_size - 5)
    with pytest.raises(UserError, match="model-00002-of-00003.safetensors: truncated"):
        load_model(llama_folder)


@pytest.fixture
def llama_folder(tmp_path):
    """A Llama in bfloat16 of 2:4 linears with -0.0 among their zeros, stored plainly."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=10,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if name.endswith(LINEAR):
            parameter.data = two_of_four(*parameter.shape, torch.bfloat16, len(name))
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    return tmp_path / "model"


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([[1, 4, 5, 6, 7, 8]])).logits


@pytest.mark.parametrize("encoder", [bitmask, bitmask24])
@pytest.mark.parametrize("names", ["new", "old"])
@pytest.mark.parametrize("block", [None, "quantization_config", "compression_config"])
@pytest.mark.parametrize("sharded", [False, True])
def test_encoded_models_load(llama_folder, encoder, names, block, sharded):
    reference = load_model(llama_folder)
    encode(
        llama_folder, encoder, lambda name: name.endswith(LINEAR), names, {block: SPARSITY} if block else None
    )
    if sharded:
        shard(llama_folder)
    check_checkpoint(llama_folder)
    model = load_model(llama_folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    assert (logits(model) - logits(reference)).abs().max() <= 1e-6
    saved = model.config.to_dict()
    assert not saved.get("quantization_config") and not saved.get("compression_config")


def test_everything_encoded_loads_too(llama_folder):
    """As the library wrote it when no targets were given: embedding and norms are bits and values as well."""
    reference = load_model(llama_folder)
    encode(llama_folder, bitmask, lambda name: True, "old", {"compression_config": SPARSITY})
    model = load_model(llama_folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))


def test_experts_are_found_again(tmp_path):
    """Which the files hold one by one, and transformers stacks."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = MixtralConfig(vocab_size=10, num_hidden_layers=1, num_local_experts=3, **sizes)
    model = MixtralForCausalLM(config)
    for parameter in model.parameters():
        parameter.data[torch.rand(parameter.shape) < 0.5] = 0
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    encode(tmp_path, bitmask, lambda name: ".experts." in name)
    assert Checkpoint(tmp_path).format == "sparse-bitmask"
    found = dict(load_model(tmp_path).named_parameters())
    assert all(torch.equal(found[name], parameter) for name, parameter in model.named_parameters())


def test_missing_and_other_shapes_are_errors(llama_folder):
    encode(llama_folder, bitmask, lambda name: name.endswith(LINEAR))
    stored = load_file(llama_folder / "model.safetensors")
    lacking = {name: value for name, value in stored.items() if ".1.mlp.up_proj" not in name}
    save_file(lacking, llama_folder / "model.safetensors")
    with pytest.raises(UserError, match="lacks tensors .*layers.1.mlp.up_proj.weight"):
        load_model(llama_folder)
    other = bitmask(weight(24, 12, torch.bfloat16))
    stored |= {f"model.layers.1.mlp.up_proj.{part}": value for part, value in other.items()}
    save_file(stored, llama_folder / "model.safetensors")
    with pytest.raises(UserError, match="another shape .*up_proj.weight .24 x 12, expected 24 x 16"):
        load_model(llama_folder)
    stored |= {f"model.layers.7.mlp.up_proj.{part}": value for part, value in other.items()}
    stored |= {
        f"model.layers.1.mlp.up_proj.{part}": v for part, v in bitmask(weight(24, 16, torch.bfloat16)).items()
    }
    save_file(stored, llama_folder / "model.safetensors")
    with pytest.raises(UserError, match="no place for.*layers.7.mlp.up_proj.weight"):
        load_model(llama_folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("encoder", [bitmask, bitmask24])
@pytest.mark.parametrize("odd", [None, 0.0, float("nan")])
def test_stored_bits_are_counted_as_the_decoded_weights_are(tmp_path, dtype, encoder, odd):
    """Also where a value that is stored is zero, or no number."""
    parts = encoder(two_of_four(6, 24, dtype))
    if odd is not None:
        parts["compressed"].view(-1)[7] = odd
    opened = Checkpoint(written(tmp_path, {f"a.{part}": value for part, value in parts.items()}))
    bits, negative, not_finite = zeros.packed_in(opened, "a.weight")
    decoded = opened["a.weight"].double()
    assert (np.unpackbits(bits, axis=1, bitorder="little") == (decoded != 0).numpy()).all()
    assert negative == int((torch.signbit(decoded) & (decoded == 0)).sum())
    assert not_finite == (odd is not None and odd != 0)


@pytest.mark.parametrize("encoder", [None, bitmask, bitmask24])
@pytest.mark.parametrize("sharded", [False, True])
def test_decode_writes_a_plain_checkpoint(llama_folder, tmp_path, encoder, sharded):
    whole = load_file(llama_folder / "model.safetensors")
    if encoder:
        encode(
            llama_folder,
            encoder,
            lambda name: name.endswith(LINEAR),
            block={"quantization_config": SPARSITY},
        )
    if sharded:
        shard(llama_folder)
    (llama_folder / "pytorch_model.bin").write_bytes(b"pickle")
    reader.decode(llama_folder, tmp_path / "out")
    out = tmp_path / "out"
    assert {p.suffix for p in out.iterdir()} == {".json", ".safetensors"} and (
        out / "tokenizer.json"
    ).is_file()
    found = {}
    for file in out.glob("*.safetensors"):
        found |= load_file(file)
    assert set(found) == set(whole)
    assert all(same_values(found[name], tensor) for name, tensor in whole.items())
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "llama" and "quantization_config" not in config
    assert Checkpoint(out).format == "dense"
    load_model(out)
    assert not list(tmp_path.glob(".out*"))


def test_decode_is_whole_or_not_at_all(llama_folder, tmp_path, monkeypatch):
    def broken(name, tensor):
        if "layers.1.mlp" in name:
            raise RuntimeError("stop")
        return tensor

    with pytest.raises(RuntimeError, match="stop"):
        reader.rewrite(llama_folder, tmp_path / "out", broken)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(UserError, match="out: exists already"):
        reader.decode(llama_folder, tmp_path / "out")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="needs 0.0 GB .* 0.0 GB are free"):
        reader.decode(llama_folder, tmp_path / "other")


GROUPS = {
    "group_0": {
        "targets": ["Linear"],
        "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True},
    }
}
FLOAT8 = SPARSITY | {"format": "float-quantized", "config_groups": GROUPS}


@pytest.mark.parametrize("encoder", [None, bitmask, bitmask24])
@pytest.mark.parametrize("per_row", [True, False])
def test_float8_with_scales(llama_folder, tmp_path, encoder, per_row):
    """Stored values times scale, which torch multiplies here in double; zeros stay zeros."""
    whole = load_file(llama_folder / "model.safetensors")
    expected, stored = {}, {}
    for name, tensor in whole.items():
        if name.endswith(LINEAR):
            rows = len(tensor) if per_row else 1
            scale = torch.linspace(0.25, 4, rows).reshape((rows, 1) if per_row else (1,)).to(torch.bfloat16)
            values = tensor.clamp(-1, 1).to(torch.float8_e4m3fn)
            expected[name] = (values.double() * scale.double()).to(torch.bfloat16)
            stored |= {name: values, name + "_scale": scale}
        else:
            expected[name] = stored[name] = tensor
    save_file(stored, llama_folder / "model.safetensors")
    (llama_folder / "config.json").write_text(
        json.dumps(json.loads((llama_folder / "config.json").read_text()) | {"quantization_config": FLOAT8})
    )
    if encoder:
        encode(llama_folder, encoder, lambda name: name.endswith(LINEAR))
    assert dict(tensors(llama_folder))[UP].dtype == torch.float8_e4m3fn
    model = load_model(llama_folder)
    assert all(torch.equal(p, expected[name].float()) for name, p in model.named_parameters())
    reader.decode(llama_folder, tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert set(found) == set(whole)
    assert all(same_values(found[name], tensor) for name, tensor in expected.items())


UP = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quant_method": "gptq"}, "quantised .gptq"),
        (
            {"config_groups": {"g": {"weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}}},
            "quantised",
        ),
        (
            {"config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "strategy": "block"}}}},
            "quantised",
        ),
        ({"kv_cache_scheme": {"num_bits": 8}}, "quantised"),
    ],
)
def test_other_quantisations_are_refused_by_name(llama_folder, tmp_path, change, words):
    config = json.loads((llama_folder / "config.json").read_text())
    (llama_folder / "config.json").write_text(json.dumps(config | {"quantization_config": FLOAT8 | change}))
    for call in (lambda: load_model(llama_folder), lambda: reader.decode(llama_folder, tmp_path / "out")):
        with pytest.raises(UserError, match=rf"config\.json.*{words}"):
            call()


def test_float8_without_its_scale_is_named(llama_folder):
    stored = load_file(llama_folder / "model.safetensors")
    save_file(stored | {UP: stored[UP].to(torch.float8_e4m3fn)}, llama_folder / "model.safetensors")
    config = json.loads((llama_folder / "config.json").read_text())
    (llama_folder / "config.json").write_text(json.dumps(config | {"quantization_config": FLOAT8}))
    with pytest.raises(UserError, match=rf"{UP} is float8 and has no {UP}_scale"):
        load_model(llama_folder)
