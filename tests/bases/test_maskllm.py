"""MaskLLM's masks: bits set one by one as the authors' packing sets them, on a dense model."""

import json

import numpy as np
import pytest
import torch
from encoded import bitmask, encode
from safetensors.torch import load_file, save_file

from sparse_continual.bases.maskllm import apply_masks, masks
from sparse_continual.errors import UserError
from sparse_continual.models.reader import Checkpoint
from sparse_continual.topologies.zeros import count

A, B = "model.layers.0.a_proj.weight", "model.layers.1.b_proj.weight"
SIZES = {A: (6, 8), B: (5, 12)}


def bits_of(mask):
    """Weight i is bit 7 - i % 8 of byte i // 8."""
    flat = [int(keep) for row in mask for keep in row]
    octets = [0] * -(-len(flat) // 8)
    for place, keep in enumerate(flat):
        octets[place // 8] += keep << (7 - place % 8)
    return np.array(octets, np.uint8)


def two_of_four(size, seed):
    order = np.random.default_rng(seed).random((size[0], size[1] // 4, 4)).argsort(axis=2)
    return (order < 2).reshape(size)


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    torch.manual_seed(0)
    tensors = {name: torch.randn(size).bfloat16() for name, size in SIZES.items()}
    tensors["model.norm.weight"] = torch.ones(8)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def kept():
    return {name: two_of_four(size, seed) for seed, (name, size) in enumerate(SIZES.items())}


def npz(path, kept, **changes):
    entries = {f"{name}.mask": bits_of(mask) for name, mask in kept.items()} | changes
    np.savez_compressed(path, **{name: value for name, value in entries.items() if value is not None})
    return path


def test_masks_are_put_on_the_dense_weights(base, kept, tmp_path):
    file = npz(tmp_path / "mask_compressed.npz", kept)
    assert [name for name, _ in masks(file)] == [A, B]
    apply_masks(base, file, tmp_path / "out")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name, mask in kept.items():
        expected = [
            [float(value) if keep else 0.0 for value, keep in zip(values, row, strict=True)]
            for values, row in zip(before[name].tolist(), mask.tolist(), strict=True)
        ]
        assert after[name].dtype == torch.bfloat16 and after[name].tolist() == expected
        assert count(after[name])["negative_zeros"] == 0
    assert torch.equal(after["model.norm.weight"], before["model.norm.weight"])
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_masks_that_keep_a_few_less_than_half_are_taken(tmp_path):
    """The authors take a mask from where a sparse weight is not zero, and allow a share of 0.0001 to be so."""
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({A: torch.ones(100, 400)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    mask = two_of_four((100, 400), 0)
    mask[0, np.flatnonzero(mask[0])[:3]] = False
    apply_masks(folder, npz(tmp_path / "m.npz", {A: mask}), tmp_path / "out")
    assert count(Checkpoint(tmp_path / "out")[A])["nonzeros"] == 20_000 - 3
    mask[1, np.flatnonzero(mask[1])[:3]] = False
    with pytest.raises(UserError, match="keeps 0.49985 of the weights, expected 0.5"):
        apply_masks(folder, npz(tmp_path / "m.npz", {A: mask}), tmp_path / "again")


def test_a_whole_mask_outside_the_blocks_leaves_the_matrix_whole(base, kept, tmp_path):
    tensors = load_file(base / "model.safetensors") | {"lm_head.weight": torch.ones(10, 6)}
    save_file(tensors, base / "model.safetensors")
    whole = {"lm_head.weight": np.ones((10, 6), bool)}
    apply_masks(base, npz(tmp_path / "m.npz", kept | whole), tmp_path / "out")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(after["lm_head.weight"], tensors["lm_head.weight"])
    assert torch.equal(after[A] != 0, torch.tensor(kept[A]))
    whole["lm_head.weight"][3, 3] = False
    with pytest.raises(UserError, match="lm_head.weight: "):
        apply_masks(base, npz(tmp_path / "n.npz", kept | whole), tmp_path / "again")
    with pytest.raises(UserError, match=f"{A}: keeps 4 of 4"):
        apply_masks(base, npz(tmp_path / "o.npz", kept | {A: np.ones(SIZES[A], bool)}), tmp_path / "again")
    only = npz(tmp_path / "p.npz", {"lm_head.weight": np.ones((10, 6), bool)})
    with pytest.raises(UserError, match="found no mask that removes a weight"):
        apply_masks(base, only, tmp_path / "again")


def flipped(mask):
    mask = mask.copy()
    mask[0, :4] = [1, 1, 1, 0]
    return bits_of(mask)


BAD = {
    "three of four": (lambda k: {f"{A}.mask": flipped(k[A])}, f"{A}: keeps 3 of 4 neighbours"),
    "too sparse": (lambda k: {f"{A}.mask": np.zeros(6, np.uint8)}, f"{A}: keeps 0.00000 of the weights"),
    "too short": (lambda k: {f"{A}.mask": bits_of(k[A])[:-1]}, f"{A}: found 5 bytes .* expected 6 .* 6 x 8"),
    "beyond": (
        lambda k: {f"{B}.mask": bits_of(k[B]) | np.uint8([0] * 7 + [1])},
        f"{B}: bits .* beyond the 60",
    ),
    "other name": (lambda k: {"model.layers.9.a_proj.weight.mask": bits_of(k[A])}, "no such parameter"),
    "no mask's name": (lambda k: {A: bits_of(k[A])}, f"entry '{A}', expected a parameter's name with .mask"),
    "a vector's": (
        lambda k: {"model.norm.weight.mask": np.uint8([0xCC])},
        "the weight is 8, expected a matrix",
    ),
    "bools": (lambda k: {f"{A}.mask": k[A]}, r"is bool of \[6, 8\], expected a flat uint8"),
    "objects": (lambda k: {f"{A}.mask": np.array([print], object)}, "without pickled objects"),
}


@pytest.mark.parametrize("bad", BAD)
def test_masks_that_do_not_fit_are_named(base, kept, tmp_path, bad):
    change, words = BAD[bad]
    file = npz(tmp_path / "bad.npz", kept, **change(kept))
    with pytest.raises(UserError, match=rf"bad\.npz: .*{words}") as caught:
        apply_masks(base, file, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("content", ["cut", "text", "array", "pickle", "none", "empty", "no entries"])
def test_files_that_are_no_masks(base, kept, tmp_path, content):
    file = tmp_path / "m.npz"
    npz(file, kept)
    if content == "cut":
        file.write_bytes(file.read_bytes()[:-30])
    elif content == "text":
        file.write_text("mask")
    elif content == "array":
        with open(file, "wb") as handle:
            np.save(handle, bits_of(kept[A]))
    elif content == "pickle":
        with open(file, "wb") as handle:
            np.save(handle, np.array([print], object), allow_pickle=True)
    elif content == "none":
        file.unlink()
    elif content == "empty":
        file.write_bytes(b"")
    else:
        np.savez(file)
    with pytest.raises(UserError, match=r"m\.npz: .*"):
        apply_masks(base, file, tmp_path / "out")


def test_a_damaged_entry_is_named(base, kept, tmp_path):
    file = tmp_path / "m.npz"
    np.savez(file, **{f"{name}.mask": bits_of(mask) for name, mask in kept.items()})
    content = bytearray(file.read_bytes())
    place = content.index(bits_of(kept[B]).tobytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"'{B}.mask' cannot be read"):
        apply_masks(base, file, tmp_path / "out")


def test_masks_are_for_dense_models(base, kept, tmp_path):
    encode(base, bitmask, lambda name: name in kept)
    with pytest.raises(UserError, match="is stored as sparse-bitmask; expected the dense model"):
        apply_masks(base, npz(tmp_path / "m.npz", kept), tmp_path / "out")


def test_sharded_bases(base, kept, tmp_path):
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    placed = {}
    for n, name in enumerate(tensors):
        placed[name] = f"model-{n + 1:05}-of-00003.safetensors"
        save_file({name: tensors[name]}, base / placed[name])
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    apply_masks(base, npz(tmp_path / "m.npz", kept), tmp_path / "out")
    opened = Checkpoint(tmp_path / "out")
    for name, mask in kept.items():
        assert opened.file_of(name).name == placed[name]
        assert torch.equal(opened[name] != 0, torch.tensor(mask))
