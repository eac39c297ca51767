"""The topology file: which weights of each matrix exist, one bit each. numpy alone, no torch.

`topology.safetensors` holds, per matrix, a flat uint8 array: the mask in row-major order, bit-packed, little bit order,
the last byte padded with zeros. One metadata entry, `topology`, holds JSON with the pattern, the method, the density,
each matrix's [rows, columns] in model order (for a parameter with the matrices of several experts, [experts, rows,
columns]), and the topology's hash (SHA-256 over name, shape and bits of the matrices sorted by name). If a method read
text, `calibration` is the SHA-256 of that text. After structured pruning it says whether the model is a smaller dense
one (`compact`, out of `dense_weights`) or has whole lines absent (`masked`). Equal topologies give equal bytes.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.files import write
from sparse_continual.models.checkpoint import by

KEY = "topology"
AGAIN = "delete the file to make it again"
FACTS = (
    "calibration",
    "structured",
    "dense_weights",
)  # optional entries on how the topology was made


@dataclass
class Bits:
    """Packed masks: `shapes` name -> (rows, columns) or (experts, rows, columns), `bits` name -> uint8[ceil(weights /
    8)].
    """

    shapes: dict[str, tuple[int, ...]]
    bits: dict[str, np.ndarray]
    pattern: str
    method: str
    facts: dict = field(default_factory=dict)

    @property
    def weights(self) -> int:
        """Weights that the matrices could have."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def nonzeros(self) -> int:
        """Weights that exist."""
        return sum(count(bits) for bits in self.bits.values())

    @property
    def sha256(self) -> str:
        """The topology's hash; pattern and method only describe it and are not part of it."""
        total = hashlib.sha256()
        for name in sorted(self.shapes):
            total.update(f"{name}\n{' '.join(map(str, self.shapes[name]))}\n".encode())
            total.update(self.bits[name].tobytes())
        return total.hexdigest()

    def mask(self, name: str) -> np.ndarray:
        """bool mask of one matrix, of its shape."""
        return unpack(self.bits[name], self.shapes[name])


def pack(mask: np.ndarray) -> np.ndarray:
    """uint8 bits of a bool mask of any shape."""
    return np.packbits(np.ascontiguousarray(mask).reshape(-1), bitorder="little")


def unpack(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """bool mask of `shape` of packed bits."""
    return np.unpackbits(bits, count=math.prod(shape), bitorder="little").reshape(shape).astype(bool)


def count(bits: np.ndarray) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def save(path, bits: Bits) -> None:
    """Write a topology file, whole or not at all."""
    from safetensors.numpy import save as serialise

    facts = {
        "pattern": bits.pattern,
        "method": bits.method,
        "density": bits.nonzeros / bits.weights,
        "shapes": bits.shapes,
        "sha256": bits.sha256,
        **bits.facts,
    }
    write(path, serialise(dict(bits.bits), metadata={KEY: json.dumps(facts)}))


def load(path) -> Bits:
    """The topology file at `path`, its sizes and hash verified.

    Raises UserError naming the file when it is missing, truncated, damaged, or not a topology file.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise UserError(f"{path}: no such topology file")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); {AGAIN}") from None
    try:
        facts = json.loads(metadata[KEY])
        shapes = {str(name): (int(a), int(b), *map(int, c)) for name, (a, b, *c) in facts["shapes"].items()}
        bits = Bits(shapes, arrays, str(facts["pattern"]), str(facts["method"]))
        bits.facts = {key: facts[key] for key in FACTS if key in facts}
        recorded = facts["sha256"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{path}: not a topology file: its metadata entry {KEY!r} must be JSON with pattern, "
            "method, shapes and sha256"
        ) from None
    _verify(path, bits, recorded)
    return bits


def _verify(path, bits: Bits, recorded: str) -> None:
    if bits.shapes.keys() != bits.bits.keys():
        name = sorted(bits.shapes.keys() ^ bits.bits.keys())[0]
        raise UserError(f"{path}: {name}: its bits or its shape are missing; {AGAIN}")
    for name, shape in bits.shapes.items():
        packed, expected = bits.bits[name], -(-math.prod(shape) // 8)
        if packed.dtype != np.uint8 or packed.shape != (expected,):
            raise UserError(
                f"{path}: {name}: found {packed.dtype} of shape {list(packed.shape)}, expected uint8 of shape "
                f"[{expected}] for {by(shape)} bits; {AGAIN}"
            )
    if bits.sha256 != recorded:
        raise UserError(
            f"{path}: its masks have SHA-256 {bits.sha256[:12]}, its metadata says "
            f"{str(recorded)[:12]}: it was damaged or edited; {AGAIN}"
        )
