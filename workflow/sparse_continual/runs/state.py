"""The trained state of a mechanism after a task: in memory, in a checkpoint and in a file of weights.

A file of weights holds the values, under the names of `Mechanism.state`, and the data that rebuild their form: tensors
under `form.`, and plain data as JSON in the file's metadata, if there is any.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import sha256_of, write
from sparse_continual.runs.mechanism import Mechanism

FORM = "form."


@dataclass(frozen=True)
class Snapshot:
    """A mechanism's form and memory, each (plain data, {name: tensor}), and its values {name: tensor}.

    memory is None in a file of weights, which does not hold it.
    """

    form: tuple[dict, dict]
    values: dict
    memory: tuple[dict, dict] | None


def snapshot(mechanism: Mechanism) -> Snapshot:
    """The present snapshot of `mechanism`; further training does not change it."""
    form, memory = copy.deepcopy((mechanism.form(), mechanism.memory()))
    return Snapshot(form, mechanism.state(), memory)


def restore(mechanism: Mechanism, kept: Snapshot) -> None:
    """Give `mechanism`, in any form, the form, values and memory of `kept`, in this order."""
    mechanism.take_form(*kept.form)
    mechanism.load(kept.values)
    if kept.memory is not None:
        mechanism.remember(*copy.deepcopy(kept.memory))
    if type(mechanism).take_form is not Mechanism.take_form:
        mechanism.watch()


def packed(kept: Snapshot) -> tuple[dict, dict]:
    """(plain data, {name: tensor}) of a snapshot with memory, for a checkpoint."""
    parts = {FORM: kept.form[1], "trained.": kept.values, "memory.": kept.memory[1]}
    tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    return {"form": kept.form[0], "memory": kept.memory[0]}, tensors


def unpacked(plain: dict, tensors: dict) -> Snapshot:
    """The snapshot that `packed` got."""
    form, values, memory = (_under(prefix, tensors) for prefix in (FORM, "trained.", "memory."))
    return Snapshot((plain["form"], form), values, (plain["memory"], memory))


def weights_path(folder, position: int) -> Path:
    """Path of a run's weights after the task at `position`."""
    return Path(folder) / "weights" / f"after_{position:03d}.safetensors"


def save_weights(mechanism: Mechanism, path) -> str:
    """Write what was trained, compact. Returns the file's SHA-256."""
    from safetensors.torch import save

    plain, tensors = mechanism.form()
    named = {**mechanism.state(), **{FORM + name: tensor for name, tensor in tensors.items()}}
    metadata = {"form": json.dumps(plain, sort_keys=True)} if plain else None
    write(path, save({name: tensor.contiguous() for name, tensor in named.items()}, metadata))
    return sha256_of(path)


def load_weights(mechanism: Mechanism, path) -> None:
    """Give `mechanism` the form and values of a file that `save_weights` wrote. Its memory does not change."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    device = mechanism.setting.model.device
    form = {name: tensor.to(device) for name, tensor in _under(FORM, tensors).items()}
    values = {name: tensor for name, tensor in tensors.items() if not name.startswith(FORM)}
    restore(mechanism, Snapshot((json.loads(metadata.get("form", "{}")), form), values, None))


def listed(folder, run: dict, position: int) -> Path:
    """The file of weights after the task at `position`, checked. run: the content of run.json.

    Raises UserError if it is missing or is not the file that run.json lists.
    """
    path = weights_path(folder, position)
    if not path.is_file() or sha256_of(path) != run["weights"][str(position)]:
        raise UserError(
            f"{path}: missing, or not the weights that run.json lists; delete {folder} to train the run again"
        )
    return path


def _under(prefix: str, tensors: dict) -> dict:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
