"""Convert pickled weights to safetensors, in a separate process: `python -m sparse_continual.bases.convert`.

A pickle is a program. torch reads it here with `weights_only=True`, which builds only tensors and plain containers, and
the separate process isolates failures from the caller. Shards are mapped into memory and converted one by one. Tensors
that share storage, as tied embeddings do, are each written in full.
"""

import json
import os
import shutil
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import PART

PICKLES = ("pytorch_model*.bin",)
REFUSED = 3  # exit code if the line on stderr is for the user


def convert(source, target) -> None:
    """Write the checkpoint in `source` to the folder `target`, whole or not at all, its pickles as safetensors.

    Everything else at the top of `source` (config, tokenizer, model code) is copied. Raises UserError if a pickle holds
    anything but named tensors, or is cut off, and if the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    source, target = Path(source), Path(target)
    part = target.with_name(f".{target.name}.{os.getpid()}{PART}")
    part.mkdir(parents=True)
    try:
        pickles = sorted(p for p in source.iterdir() if any(fnmatch(p.name, k) for k in PICKLES))
        placed, size = {}, 0
        for number, pickle in enumerate(pickles, 1):
            one = "model.safetensors" if len(pickles) == 1 else _shard(number, len(pickles))
            tensors = _apart(_read(pickle))
            size += sum(tensor.nbytes for tensor in tensors.values())
            placed.update(dict.fromkeys(tensors, one))
            try:
                save_file(tensors, part / one, metadata={"format": "pt"})
            except (OSError, SafetensorError) as error:
                raise UserError(
                    f"{target / one}: cannot be written ({error}); make room on its disk"
                ) from None
        if len(pickles) > 1:
            index = {"metadata": {"total_size": size}, "weight_map": placed}
            (part / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True))
        for file in source.iterdir():
            if file.is_file() and file not in pickles and not file.name.endswith(".bin.index.json"):
                shutil.copyfile(file, part / file.name)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _shard(number: int, count: int) -> str:
    return f"model-{number:05}-of-{count:05}.safetensors"


def _apart(tensors: dict) -> dict:
    """Copies of the tensors that share memory, because safetensors refuses shared memory."""
    apart, storages = {}, set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone().contiguous() if place in storages else tensor.contiguous()
        storages.add(place)
    return apart


def _read(pickle: Path) -> dict:
    """Name -> tensor of a pickled file."""
    import torch

    try:
        mapped = zipfile.is_zipfile(pickle)  # files older than torch 1.6 cannot be mapped into memory
        tensors = torch.load(pickle, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises its own kinds, RuntimeError, EOFError and others for a bad file
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{pickle.name}: not a pickle of tensors only, or cut off ({reason}); nothing in it was run; "
            "ask its authors for safetensors"
        ) from None
    for name, value in tensors.items() if isinstance(tensors, dict) else [(pickle.name, tensors)]:
        if not isinstance(value, torch.Tensor):
            raise UserError(
                f"{pickle.name}: {name!r} is a {type(value).__name__}, expected named tensors; "
                "ask its authors for safetensors"
            )
    return tensors


if __name__ == "__main__":
    try:
        convert(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
