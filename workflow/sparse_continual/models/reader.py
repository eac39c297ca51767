"""The weights of a checkpoint folder, decoded, one at a time: dense, `sparse-bitmask`, `sparse-24-bitmask`.

The names of the tensors decide the format of a folder, never its config.json, which is wrong in published checkpoints.
Each tensor is mapped from its file when it is used, so memory follows the largest tensor and not the shard. The library
that wrote the two sparse formats no longer reads them: it loads such files as random weights or not at all.
"""

import json
import math
import mmap
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import PART, read_json, write_json
from sparse_continual.models.checkpoint import (
    BLOCKS,
    INDEX,
    MIB,
    entries,
    is_scaled_float8,
    parameters,
    quantisation_of,
)

DENSE, BITMASK, BITMASK24 = "dense", "sparse-bitmask", "sparse-24-bitmask"
BESIDE = (".json", ".model", ".txt", ".jinja", ".py")  # endings of the files that belong to the weights
SCALE = "_scale"  # end of the name of a float8 weight's scale
OF_QUANTISATION = tuple(
    f".{part}"
    for part in "weight_scale weight_scale_inv weight_zero_point input_scale input_zero_point".split()
)
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")
VALUES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "F8_E4M3",
    "F8_E5M2",
    "I8",
)  # types of values that are stored with bits


def tensors(folder):
    """Iterator of (parameter name, decoded tensor), shard by shard; one matrix in memory at a time.

    A tensor's memory is its mapped file until it is written to: changing one changes no file. Values of quantised
    weights are returned as stored, with their scales as separate tensors.

    Raises UserError as `Checkpoint` does.
    """
    yield from Checkpoint(folder).items()


def decode(folder, out) -> None:
    """Write the checkpoint in `folder` to the new folder `out` with its weights stored plainly.

    Shards keep their names; config.json loses its quantisation block, because float8 weights are multiplied by their
    scales; the tokenizer's files are copied. `out` appears whole or not at all.

    Raises UserError as `Checkpoint` does, for other quantised weights, if `out` has files already, and if the disk is
    too small for it.
    """
    rewrite(folder, out, lambda name, tensor: tensor)


def rewrite(folder, out, change) -> None:
    """`decode` with every decoded tensor replaced by `change(name, tensor)`, of the same shape and type."""
    checkpoint, out = Checkpoint(folder, scaled=True), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; expected a new folder; delete it to make it again")
    out.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(_bytes(checkpoint, name) for name in checkpoint.shapes)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise UserError(
            f"{out}: needs {needed / 1e9:.1f} GB for the decoded weights, {free / 1e9:.1f} GB are free there"
        )
    part = out.with_name(f".{out.name}.{os.getpid()}{PART}")
    part.mkdir()
    try:
        _write_all(checkpoint, part, change)
        os.replace(part, out)
    except BaseException:  # do not leave parts on a full disk
        shutil.rmtree(part)
        raise


class Checkpoint:
    """An open folder: `shapes` is parameter name -> dense shape, in the order of the files, and `checkpoint[name]`
    the decoded tensor.

    With `scaled`, float8 weights are multiplied by their scales, in the scales' type, and the other tensors of their
    quantisation are skipped.

    Raises UserError, naming file and tensor, for files that are broken, missing or packed; for missing parts; with
    `scaled` for weights that are quantised in another way; and, when a tensor is read, for bits, values and shape that
    do not fit together.
    """

    def __init__(self, folder, scaled=False):
        self.folder = Path(folder)
        self._entries = entries(folder)
        self._parts = parameters(self._entries)
        self._scales = {}
        names = list(self._parts)
        if scaled:
            config = read_json(self.folder / "config.json")
            if quantisation_of(config) and not is_scaled_float8(config):
                raise UserError(
                    f"{self.folder / 'config.json'}: the weights are quantised ({quantisation_of(config)}); expected "
                    "plain ones, or float8 with one scale per matrix or row"
                )
            if quantisation_of(config):
                names = [name for name in names if not name.endswith(OF_QUANTISATION)]
                self._scales = {
                    name: name + SCALE for name in names if self._stored(name)["dtype"].startswith("F8_")
                }
        self.shapes = {name: self._shape(name) for name in names}
        for name, scale in self._scales.items():
            rows = self.shapes[name][0]
            if scale not in self._parts or self._shape(scale) not in ((), (1,), (1, 1), (rows, 1)):
                raise UserError(
                    f"{self.file_of(name)}: {name} is float8 and has no {scale} of one value, or of [{rows}, 1]; "
                    "use the checkpoint before quantisation"
                )

    @property
    def format(self) -> str:
        """`dense`, `sparse-bitmask` or `sparse-24-bitmask`, by the names and shapes of the tensors."""
        stored = [parts["compressed"] for parts in self._parts.values() if "compressed" in parts]
        if not stored:
            return DENSE
        return BITMASK if any(self._flat(name) for name in stored) else BITMASK24

    @property
    def scaled(self) -> bool:
        """Whether some weights are multiplied by their scales."""
        return bool(self._scales)

    def file_of(self, name: str) -> Path:
        """The file that holds a parameter's values."""
        return self._stored(name)["file"]

    def dtype_of(self, name: str) -> str:
        """The type of a parameter's values, as safetensors calls it."""
        return self._stored(self._scales.get(name, name))["dtype"]

    def torch_type(self, name: str):
        """`dtype_of` as torch calls it. Raises UserError for an unsupported type."""
        name = self._scales.get(name, name)
        return _torch_type(self._stored(name), name)

    def items(self):
        """Iterator of (parameter name, decoded tensor), in the order of the files."""
        return ((name, self[name]) for name in self.shapes)

    def __getitem__(self, name: str):
        tensor = self._decoded(name)
        if name not in self._scales:
            return tensor
        scale = self._decoded(self._scales[name])
        return (tensor.float() * scale.float()).to(scale.dtype)

    def bits(self, name: str):
        """uint8 [rows, ceil(columns / 8)] of a parameter that is stored as bits and values, with its dimensions but the
        last as rows; None for others. Marked values may be zero. Raises UserError as `checkpoint[name]`."""
        if "" in self._parts[name]:
            return None
        way, *parts = self._compressed(name)
        return way.matched(*parts)

    @contextmanager
    def rows(self, name: str):
        """The `Rows` of a parameter's stored values: [rows, columns], or [values, 1] for one that is stored as bits and
        values. Raises UserError as `checkpoint[name]`."""
        entry, dtype = self._whole(self._values(name))
        plain = "" in self._parts[name] and entry["shape"]
        *above, columns = entry["shape"] if plain else (*entry["shape"], 1)
        with open(entry["file"], "rb", buffering=0) as handle:
            yield Rows(handle, entry["begin"], dtype, (math.prod(above), columns))

    def _decoded(self, name: str):
        if "" in self._parts[name]:
            return self._mapped(name)
        way, *parts = self._compressed(name)
        return way.decode(*parts)

    def _compressed(self, name: str):
        """(module of the format, arguments of its functions)"""
        from sparse_continual.models.formats import bitmask, bitmask24

        parts = self._parts[name]
        way = bitmask if self._flat(parts["compressed"]) else bitmask24
        bits, values = self._mapped(parts["bitmask"]), self._mapped(parts["compressed"])
        return way, f"{self.file_of(name)}: {name}", self._shape(name), bits, values

    def _stored(self, name: str) -> dict:
        return self._entries[self._values(name)]

    def _values(self, name: str) -> str:
        """The tensor that holds a parameter's values."""
        parts = self._parts[name]
        return parts.get("", parts.get("compressed"))

    def _flat(self, tensor: str) -> bool:
        return len(self._entries[tensor]["shape"]) == 1

    def _shape(self, name: str) -> tuple[int, ...]:
        parts = self._parts[name]
        if "" in parts:
            return self._entries[name]["shape"]
        for part, types in (("shape", INTEGERS), ("compressed", VALUES)):
            entry = self._entries[parts[part]]
            if entry["dtype"] not in types:
                raise UserError(
                    f"{entry['file']}: tensor {parts[part]!r} is of type {entry['dtype']}, expected one of "
                    f"{', '.join(types)}; copy the checkpoint again"
                )
        return tuple(self._mapped(parts["shape"]).flatten().tolist())

    def _whole(self, tensor: str):
        """(entry, torch's type) of a stored tensor, checked for its size."""
        entry = self._entries[tensor]
        dtype = _torch_type(entry, tensor)
        length, expected = entry["end"] - entry["begin"], math.prod(entry["shape"]) * dtype.itemsize
        if length != expected:
            raise UserError(
                f"{entry['file']}: tensor {tensor!r} has {length} bytes, expected {expected} for its shape "
                f"{list(entry['shape'])}; copy the file again"
            )
        return entry, dtype

    def _mapped(self, tensor: str):
        """The stored tensor, on private pages of its file, or a copy of a small one."""
        import torch

        entry, dtype = self._whole(tensor)
        begin, length = entry["begin"], entry["end"] - entry["begin"]
        if not length:
            return torch.empty(entry["shape"], dtype=dtype)
        with open(entry["file"], "rb") as handle:
            if length < MIB:  # every mapping keeps the file open, and there may be thousands of small tensors
                handle.seek(begin)
                pages, skip = bytearray(handle.read(length)), 0
            else:
                skip = begin % mmap.ALLOCATIONGRANULARITY
                pages = mmap.mmap(
                    handle.fileno(), skip + length, access=mmap.ACCESS_COPY, offset=begin - skip
                )
        return torch.frombuffer(pages, dtype=dtype, offset=skip, count=length // dtype.itemsize).reshape(
            entry["shape"]
        )


class Rows:
    """A matrix in an open file: `shape` [rows, columns], `dtype`; `matrix[begin:end]` reads some of its rows, which the
    next read overwrites. For data that is read once: page faults would double the time of a mapped file."""

    def __init__(self, handle, begin: int, dtype, shape: tuple[int, int]):
        self.dtype, self.shape = dtype, shape
        self._handle, self._begin, self._buffer = handle, begin, bytearray()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice):
        import torch

        begin, end, _ = rows.indices(len(self))
        width = self.shape[1] * self.dtype.itemsize
        size = (end - begin) * width
        if not size:
            return torch.empty(end - begin, self.shape[1], dtype=self.dtype)
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        self._handle.seek(self._begin + begin * width)
        left = memoryview(self._buffer)[:size]
        while left:
            received = self._handle.readinto(left)
            if not received:
                raise UserError(f"{self._handle.name}: became shorter while it was read; copy the file again")
            left = left[received:]
        count = (end - begin) * self.shape[1]
        return torch.frombuffer(self._buffer, dtype=self.dtype, count=count).reshape(end - begin, -1)


def _torch_type(entry: dict, tensor: str):
    import torch

    if entry["dtype"] not in DTYPES:
        raise UserError(
            f"{entry['file']}: tensor {tensor!r} is of type {entry['dtype']}, expected one of {', '.join(DTYPES)}"
        )
    return getattr(torch, DTYPES[entry["dtype"]])


def _bytes(checkpoint: Checkpoint, name: str) -> int:
    return math.prod(checkpoint.shapes[name]) * checkpoint.torch_type(name).itemsize


def _write_all(checkpoint: Checkpoint, out: Path, change) -> None:
    """Write every file of the decoded checkpoint to the existing folder `out`."""
    shards = {}
    for name in checkpoint.shapes:
        shards.setdefault(checkpoint.file_of(name).name, []).append(name)
    for shard, names in shards.items():
        _write_shard(checkpoint, names, out / shard, change)
    config = read_json(checkpoint.folder / "config.json")
    write_json(out / "config.json", {key: value for key, value in config.items() if key not in BLOCKS})
    for file in checkpoint.folder.iterdir():
        if file.is_file() and file.suffix in BESIDE and file.name not in ("config.json", INDEX):
            shutil.copyfile(file, out / file.name)
    if (checkpoint.folder / INDEX).is_file():
        placed = {name: shard for shard, names in shards.items() for name in names}
        total = sum(_bytes(checkpoint, name) for name in checkpoint.shapes)
        write_json(out / INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def _write_shard(checkpoint: Checkpoint, names: list[str], path: Path, change) -> None:
    """Write a safetensors file of some parameters tensor by tensor: its header follows from shapes and types."""
    from sparse_continual.models.formats.raw import to_words

    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        end = place + _bytes(checkpoint, name)
        header[name] = {
            "dtype": checkpoint.dtype_of(name),
            "shape": checkpoint.shapes[name],
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = change(name, checkpoint[name])
            handle.write(to_words(tensor.contiguous()).data)
        handle.flush()
        os.fsync(handle.fileno())
