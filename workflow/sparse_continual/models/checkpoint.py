"""Check the JSON files and tensor headers of a checkpoint folder: no torch, no weights read.

Every start of the workflow uses this, so that a broken checkpoint is refused in milliseconds, before anything
expensive. Checks that need the model class (missing or mismatched tensors) run when `models.load` loads the weights.
"""

import hashlib
import json
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json, sha256_of

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
PACKED = ".weight_packed"  # end of the names of bit-packed weights, several in an integer
PARTS = ("shape", "bitmask", "compressed")  # tensors of a weight that is stored as bits and values
REDUNDANT = "row_offsets"  # optional tensor of such a weight
BLOCKS = ("quantization_config", "compression_config")  # in config.json; the second is the older name
HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format itself
MIB = 1 << 20
WHOLE = 256 * MIB  # greatest size of a file whose fingerprint covers all bytes
SAMPLES = 64  # samples of a MiB each, of a larger file


def check_checkpoint(folder) -> None:
    """Raise UserError if `folder` is not a loadable safetensors checkpoint with a tokenizer.

    Checked: the folder, `config.json`, the weight files' names, sizes and headers (which show a truncated file), the
    shards and tensors that an index names, and the tokenizer's files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; expected a Hugging Face checkpoint (config.json, *.safetensors)"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError(f"{folder / 'config.json'}: no 'model_type'; expected a Hugging Face model config")
    quantised = quantisation_of(config)
    if quantised and not is_scaled_float8(config):
        raise UserError(
            f"{folder / 'config.json'}: the weights are quantised ({quantised}); "
            "expected plain floating-point weights; use the checkpoint before quantisation"
        )
    parameters(entries(folder))
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UserError(f"{folder}: no tokenizer; expected one of {', '.join(TOKENIZERS)} beside the weights")


def entries(folder) -> dict[str, dict]:
    """Tensor name -> {"file": Path, "dtype", "shape", "begin", "end"} of all weight files, in their order.

    `begin` and `end` are places in the file, in bytes.

    Raises UserError for broken files, and for a tensor that is missing where the index places it.
    """
    folder, located = Path(folder), {}
    placed = {} if (folder / SINGLE).is_file() else None
    for file in weight_files(folder):
        header = read_header(file)
        start = file.stat().st_size - max((entry["data_offsets"][1] for entry in header.values()), default=0)
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            place = {"file": file, "begin": start + begin, "end": start + end}
            located[name] = place | {"dtype": entry["dtype"], "shape": tuple(entry["shape"])}
    if placed is None:
        placed = read_json(folder / INDEX)["weight_map"]
    for name, shard in placed.items():
        if name not in located or located[name]["file"].name != shard:
            raise UserError(
                f"{folder / shard}: no tensor {name!r}, which {INDEX} places there; copy the checkpoint again"
            )
    return located


def parameters(tensors: dict[str, dict]) -> dict[str, dict[str, str]]:
    """Parameter name -> {part: tensor name} for `tensors`, the result of `entries`, in the order of the files.

    A plainly stored tensor has the one part "". A tensor that is stored as bits and values has the parts `PARTS`
    (`models.formats`); it is the parameter P.weight whether they are called P.bitmask or, in older releases of the
    library, P.weight.bitmask.

    Raises UserError for bit-packed weights, and for a parameter with a missing part.
    """
    stems = {name.removesuffix(".bitmask") for name in tensors if name.endswith(".bitmask")}
    stems |= {name.removesuffix(".compressed") for name in tensors if name.endswith(".compressed")}
    named = {}
    for name, entry in tensors.items():
        stem, _, part = name.rpartition(".")
        if name.endswith(PACKED):
            raise UserError(
                f"{entry['file']}: tensor {name!r} belongs to a packed format that is not read; expected plain "
                "floating-point weights; use the checkpoint before quantisation"
            )
        if stem not in stems or part not in (*PARTS, REDUNDANT):
            named.setdefault(name, {})[""] = name
        elif part != REDUNDANT:
            whole = stem if stem.endswith((".weight", ".bias")) else f"{stem}.weight"
            named.setdefault(whole, {})[part] = name
    for whole, parts in named.items():
        if "" in parts and len(parts) > 1:
            raise UserError(f"{tensors[parts['']]['file']}: {whole!r} is stored twice: plainly, and as bits")
        lacking = [part for part in PARTS if part not in parts]
        if "" not in parts and lacking:
            one = next(iter(parts.values()))
            raise UserError(
                f"{tensors[one]['file']}: tensor {one!r} needs one ending in .{lacking[0]} beside it, and there is "
                "none; copy the checkpoint again"
            )
    return named


def quantisation_of(config: dict) -> str | None:
    """The quantisation that a parsed `config.json` declares, or None for plain weights.

    Pruned checkpoints have a compressed-tensors block with only a sparsity declaration; their weights are plain, zeros
    included, so it does not count.
    """
    for key in BLOCKS:
        block = config.get(key)
        if not block:
            continue
        method = block.get("quant_method", "compressed-tensors")
        if method != "compressed-tensors" or block.get("config_groups") or block.get("kv_cache_scheme"):
            return str(method)
    return None


def is_scaled_float8(config: dict) -> bool:
    """Whether a quantisation block declares exactly float8 weights with one scale per matrix or row.

    Such weights are values times scale. The rounding of activations is not checked.
    """
    blocks = [config[key] for key in BLOCKS if config.get(key)]
    weights = [
        group.get("weights") or {}
        for block in blocks
        for group in (block.get("config_groups") or {}).values()
    ]
    return (
        bool(weights)
        and all(block.get("quant_method", "compressed-tensors") == "compressed-tensors" for block in blocks)
        and not any(block.get("kv_cache_scheme") for block in blocks)
        and all(
            (kind.get("type"), kind.get("num_bits")) == ("float", 8)
            and kind.get("strategy") in ("tensor", "channel")
            and kind.get("symmetric", True)
            for kind in weights
        )
    )


def weight_files(folder) -> list[Path]:
    """The safetensors files that loading `folder` reads: the single one, or the shards of its index.

    Raises UserError when there are none, naming pickled weights if the folder offers only those.
    """
    folder = Path(folder)
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        placed = read_json(folder / INDEX)
        placed = placed.get("weight_map") if isinstance(placed, dict) else None
        if not isinstance(placed, dict) or not placed:
            raise UserError(f"{folder / INDEX}: no 'weight_map'; expected tensor names with their shards")
        for name, shard in placed.items():
            if not isinstance(shard, str):
                raise UserError(
                    f"{folder / INDEX}: places {name!r} in {shard!r}, expected the name of a shard; "
                    "copy the checkpoint again"
                )
        shards = [folder / shard for shard in sorted(set(placed.values()))]
        for shard in shards:
            if not shard.is_file():
                raise UserError(
                    f"{shard}: no such file, but {INDEX} names this shard; copy the checkpoint again"
                )
        return shards
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise UserError(
            f"{folder}: offers pickled weights ({pickles[0]}), which can run code when they are read; "
            "expected safetensors; convert to safetensors"
        )
    others = sorted(p.name for p in folder.glob("*.safetensors"))
    problem = f"found {others[0]}" if others else "found no safetensors file"
    raise UserError(f"{folder}: {problem}; expected {SINGLE}, or shards with {INDEX}")


def read_header(file) -> dict[str, dict]:
    """Tensor name -> {"dtype", "shape", "data_offsets"} of a safetensors file, its length checked.

    Raises UserError if the file cannot be read, is shorter than its header says (naming the first tensor that is cut
    off), longer, or not a safetensors file.
    """
    file = Path(file)
    size = file.stat().st_size
    try:
        with open(file, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            whole = 8 <= size and length <= min(size - 8, HEADER_LIMIT)
            text = handle.read(length) if whole else b""
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); expected a safetensors file that you may read"
        ) from None
    if not whole:
        raise UserError(
            f"{file}: truncated or not a safetensors file: {size} bytes do not hold its header; copy the file again"
        )
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        if not all(_is_entry(**entry) for entry in header.values()):
            raise ValueError
        ends = {name: 8 + length + entry["data_offsets"][1] for name, entry in header.items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            f"{file}: its header is not that of a safetensors file; copy the file again"
        ) from None
    expected = max(ends.values(), default=8 + length)
    if size < expected:
        cut = min((end, name) for name, end in ends.items() if end > size)[1]
        raise UserError(
            f"{file}: truncated: {size} bytes, expected {expected}; "
            f"the first tensor cut off is {cut!r}; copy the file again"
        )
    if size > expected:
        raise UserError(
            f"{file}: {size} bytes, expected {expected}: bytes follow the last tensor; copy the file again"
        )
    return header


def _is_entry(dtype, shape, data_offsets) -> bool:
    """Whether these are valid members of a header's entry: a type's name, sizes, first byte and the byte after."""
    begin, end = data_offsets
    numbers = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    return isinstance(dtype, str) and numbers and begin <= end


def fingerprint_of(folder) -> dict[str, str]:
    """File name -> hex SHA-256 of its content, for every file that loading reads; no time stamps.

    Files up to 256 MiB are read whole. For larger files, so that every start stays fast, the size and 64 samples of a
    MiB are read, spread evenly from the first MiB to the last. This can miss a change that keeps the size and lies
    between the samples, such as an edit of one small matrix of a large shard. It finds training or a merged adapter,
    which change matrices all over the file.
    """
    folder = Path(folder)
    files = {p for p in folder.iterdir() if p.is_file() and (p.suffix == ".json" or p.name in TOKENIZERS)}
    files.update(weight_files(folder))
    for name in ("merges.txt", "chat_template.jinja"):
        files.update(p for p in (folder / name,) if p.is_file())
    return {
        file.name: sha256_of(file) if file.stat().st_size <= WHOLE else _sampled(file)
        for file in sorted(files)
    }


def _sampled(file: Path) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(file, "rb") as handle:
        for number in range(SAMPLES):
            handle.seek(number * (size - MIB) // (SAMPLES - 1))
            digest.update(handle.read(MIB))
    return digest.hexdigest()


def by(shape) -> str:
    """A shape in words: "48 x 32"."""
    return " x ".join(map(str, shape))
