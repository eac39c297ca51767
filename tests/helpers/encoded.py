"""Checkpoints in the sparse formats, encoded bit by bit from their description and not by the code that decodes."""

import json

import torch
from safetensors.torch import load_file, save_file

NAMES = {"new": lambda name: name.removesuffix(".weight"), "old": lambda name: name}


def bits_of(kept: list[list[bool]], columns: int) -> torch.Tensor:
    """uint8 [rows, ceil(columns / 8)]: bit b of byte j of a row is column 8 j + b."""
    rows = []
    for row in kept:
        octets = [0] * -(-columns // 8)
        for column in range(columns):
            if row[column]:
                octets[column // 8] += 2 ** (column % 8)
        rows.append(octets)
    return torch.tensor(rows, dtype=torch.uint8).reshape(len(kept), -(-columns // 8))


def picked(weight: torch.Tensor, places: list[int]) -> torch.Tensor:
    """The values at some places of the flat weight; by their bits, because torch picks no float8."""
    words = {1: torch.int8, 2: torch.int16, 4: torch.int32}[weight.element_size()]
    return (
        weight.contiguous().view(words).reshape(-1)[torch.tensor(places, dtype=torch.long)].view(weight.dtype)
    )


def bitmask(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Parts of a parameter in `sparse-bitmask`."""
    rows = weight.reshape(-1, weight.shape[-1])
    kept = [[float(value) != 0 for value in row] for row in rows]
    places = [n for n, keep in enumerate(sum(kept, [])) if keep]
    counts = [sum(row) for row in kept]
    bits = bits_of(kept, weight.shape[-1])
    return {
        "shape": torch.tensor(weight.shape),
        "compressed": picked(weight, places),
        "bitmask": bits.reshape(*weight.shape[:-1], bits.shape[-1]),
        "row_offsets": torch.tensor([sum(counts[:n]) for n in range(len(counts))]),
    }


def bitmask24(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Parts of a matrix in `sparse-24-bitmask`: the two largest of every four along the flat matrix, always two."""
    rows, columns = weight.shape
    flat = [float(value) for value in weight.reshape(-1)]
    chosen = []
    for begin in range(0, len(flat), 4):
        group = sorted(range(begin, begin + 4), key=lambda place: -abs(flat[place]))
        chosen += sorted(group[:2])
    marked = set(chosen)
    kept = [[r * columns + c in marked for c in range(columns)] for r in range(rows)]
    return {
        "shape": torch.tensor(weight.shape).reshape(-1, 1),
        "compressed": picked(weight, chosen).reshape(rows, columns // 2),
        "bitmask": bits_of(kept, columns),
    }


def encode(folder, encoder, pick, names="new", block=None):
    """Replace the parameters of a plain single-file checkpoint that `pick` takes by their parts, in place.

    `block`: what config.json is to say, as {key: block}.
    """
    tensors = load_file(folder / "model.safetensors")
    stored = {}
    for name, tensor in tensors.items():
        if pick(name):
            parts = encoder(tensor)
            stored |= {f"{NAMES[names](name)}.{part}": value for part, value in parts.items()}
        else:
            stored[name] = tensor
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    if block:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | block))


def shard(folder, count=3):
    """Spread a single file over shards, tensor by tensor in turn, so that a matrix's parts lie in several."""
    tensors = load_file(folder / "model.safetensors")
    placed = {
        name: f"model-{n % count + 1:05}-of-{count:05}.safetensors" for n, name in enumerate(sorted(tensors))
    }
    for file in set(placed.values()):
        held = {name: tensors[name] for name in tensors if placed[name] == file}
        save_file(held, folder / file, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 0}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
