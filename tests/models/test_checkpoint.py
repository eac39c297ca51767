"""Folders that are no good are refused by their names, sizes and headers, each with one clear line."""

import json
import os
import struct

import pytest

from sparse_continual.errors import UserError
from sparse_continual.models import checkpoint
from sparse_continual.models.checkpoint import (
    MIB,
    check_checkpoint,
    fingerprint_of,
    read_header,
    weight_files,
)

A, B = "model.a.weight", "model.b.weight"


def safetensors(path, names, trailing=b""):
    """A safetensors file made by hand: one float32 tensor of 2 x 3 for each name."""
    header = {
        name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [24 * n, 24 * n + 24]}
        for n, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24 * len(names)) + trailing)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    safetensors(tmp_path / "model.safetensors", [A, B])
    return tmp_path


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        check_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def sharded(folder, **placed):
    """Replace the single file by one shard a tensor, with an index that says `placed`."""
    (folder / "model.safetensors").unlink()
    safetensors(folder / "one.safetensors", [A])
    safetensors(folder / "two.safetensors", [B])
    index = {"metadata": {}, "weight_map": {A: "one.safetensors", B: "two.safetensors", **placed}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_good_folders_pass(folder):
    check_checkpoint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")  # beside safetensors it is not read
    check_checkpoint(folder)
    sharded(folder)
    check_checkpoint(folder)
    assert [p.name for p in weight_files(folder)] == ["one.safetensors", "two.safetensors"]


def test_no_folder(tmp_path):
    refused(tmp_path / "absent", "absent", "no such folder")


def test_config(folder):
    (folder / "config.json").write_text('{\n"model_type": }')
    refused(folder, "config.json", "line 2")
    (folder / "config.json").write_text("{}")
    refused(folder, "config.json", "model_type")
    (folder / "config.json").unlink()
    refused(folder, "config.json", "no such file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    refused(folder, "offers pickled weights", name, "convert to safetensors")


def test_no_weights(folder):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    refused(folder, "adapter_model.safetensors", "expected model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    refused(folder, "found no safetensors file")


def test_truncated_data_names_the_first_tensor_cut_off(folder):
    file = folder / "model.safetensors"
    size = file.stat().st_size
    os.truncate(file, size - 1)
    refused(folder, "model.safetensors", "truncated", f"{size - 1} bytes", f"expected {size}", repr(B))
    os.truncate(file, size - 25)
    refused(folder, "truncated", repr(A))


@pytest.mark.parametrize("size", [0, 5, 8, 40])
def test_truncated_header(folder, size):
    os.truncate(folder / "model.safetensors", size)
    refused(folder, "model.safetensors", "truncated")


def test_not_safetensors(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"abcd")
    refused(folder, "header")
    safetensors(folder / "model.safetensors", [A], trailing=b"x")
    refused(folder, "bytes follow the last tensor")


def test_shards(folder):
    sharded(folder)
    (folder / "two.safetensors").unlink()
    refused(folder, "two.safetensors", "no such file")


def test_tensor_missing_from_its_shard(folder):
    sharded(folder, **{"model.c.weight": "one.safetensors"})
    refused(folder, "one.safetensors", "model.c.weight")


def test_index_without_a_map(folder):
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    refused(folder, "index.json", "weight_map")


@pytest.mark.parametrize("shard", [3, None, ["one.safetensors"]])
def test_shards_that_are_no_names(folder, shard):
    sharded(folder, **{B: shard})
    refused(folder, "index.json", f"places {B!r} in {shard!r}, expected the name of a shard")


@pytest.mark.parametrize("suffix", ["bitmask", "compressed"])
def test_a_part_of_a_sparse_weight_alone(folder, suffix):
    safetensors(folder / "model.safetensors", [A, f"model.b.{suffix}"])
    refused(folder, f"'model.b.{suffix}'", "needs one ending in .shape")


def test_sparse_weights_need_no_more_than_their_parts(folder):
    safetensors(
        folder / "model.safetensors", [A, *(f"model.b.{p}" for p in ("shape", "bitmask", "compressed"))]
    )
    check_checkpoint(folder)


def test_packed_weights(folder):
    safetensors(folder / "model.safetensors", [A, "model.b.weight_packed"])
    refused(folder, "'model.b.weight_packed'", "packed format", "before quantisation")


def test_quantised(folder):
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "config.json", "quantised (gptq)")


def test_a_sparsity_declaration_alone_is_fine(folder):
    block = {"quant_method": "compressed-tensors", "sparsity_config": {"format": "dense"}}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": block}))
    check_checkpoint(folder)


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, "no tokenizer", "tokenizer.json")


def test_header_agrees_with_the_library(tmp_path):
    numpy = pytest.importorskip("numpy")
    from safetensors.numpy import save_file

    save_file({"x": numpy.zeros((3, 5), "float16"), "y": numpy.ones(7)}, tmp_path / "z.safetensors")
    header = read_header(tmp_path / "z.safetensors")
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "x": ("F16", [3, 5]),
        "y": ("F64", [7]),
    }


def test_fingerprint_sees_content_and_not_time(folder):
    before = fingerprint_of(folder)
    assert set(before) == {"config.json", "tokenizer.json", "model.safetensors"}
    os.utime(folder / "model.safetensors", (1, 1))
    (folder / "README.md").write_text("not read by loading")
    assert fingerprint_of(folder) == before
    safetensors(folder / "model.safetensors", [A, "model.c.weight"])
    after = fingerprint_of(folder)
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}


def test_fingerprint_reads_small_files_whole(folder):
    file = folder / "tokenizer.json"
    file.write_bytes(bytes(3 * MIB))
    before = fingerprint_of(folder)
    file.write_bytes(bytes(MIB + 7) + b"x" + bytes(2 * MIB - 8))
    assert {name for name, seen in fingerprint_of(folder).items() if seen != before[name]} == {file.name}


def test_fingerprint_samples_large_files_evenly(folder, monkeypatch):
    """Between two samples of a file of 127 MiB lies one MiB that is not read."""
    monkeypatch.setattr(checkpoint, "WHOLE", MIB)
    file, places = (
        folder / "tokenizer.json",
        (0, 2 * MIB - 1, 2 * MIB, 77 * MIB - 1, 126 * MIB, 127 * MIB - 1),
    )
    seen = []
    for place in (None, *places):
        with open(file, "wb") as handle:
            handle.truncate(127 * MIB)
            if place is not None:
                handle.seek(place)
                handle.write(b"x")
        seen.append(fingerprint_of(folder)[file.name])
    unread = [place for place, digest in zip(places, seen[1:], strict=True) if digest == seen[0]]
    assert unread == [2 * MIB - 1]
    os.truncate(file, 126 * MIB)
    assert fingerprint_of(folder)[file.name] not in seen


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": None},
        {"shape": 6},
        {"shape": [2, -3]},
        {"shape": [2, "3"]},
        {"data_offsets": [0]},
        {"data_offsets": [24, 0]},
        {"data_offsets": ["a", 24]},
        {"more": 1},
    ],
)
def test_malformed_entries_of_a_header(folder, change):
    text = json.dumps({A: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} | change}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    refused(folder, "model.safetensors", "header is not that of a safetensors file")
