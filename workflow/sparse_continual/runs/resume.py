"""Checkpoints from which a killed run continues to the same numbers.

Their folder is no output of any rule, so Snakemake neither deletes it nor reads it as a result. A lock prevents two
processes from training one run. A checkpoint has the identity of its run (settings, code, content of the inputs), so
that a changed run does not continue from an old checkpoint.
"""

import fcntl
import json
import shutil
import time
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json, sha256_of, write
from sparse_continual.identity import sha256

EVERY = 60  # seconds between two checkpoints within a task


class Resume:
    """The resume folder of one run, locked as long as the `with` block lasts."""

    def __init__(self, folder, identity: str):
        self.folder, self.identity = Path(folder), identity
        self.began = self.saved = time.monotonic()
        self.before = 0.0  # seconds that the processes before this one spent on the run

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise UserError(
                f"{self.folder}: another process is training this run; wait for it, or end it"
            ) from None
        return self

    def __exit__(self, *_):
        self.lock.close()

    def seconds(self) -> float:
        """Seconds spent on the run so far; a resumed process sets `before` from the checkpoint."""
        return self.before + time.monotonic() - self.began

    def due(self) -> bool:
        """Whether the last checkpoint is older than EVERY seconds."""
        return time.monotonic() - self.saved > EVERY

    def load(self) -> tuple[dict, dict] | None:
        """(plain data, {name: tensor}) of the last checkpoint.

        None if there is none of this identity, or if it is damaged: the run then starts from scratch.
        """
        from safetensors.torch import load_file

        state = self._read(self._state)
        if state is None or state["identity"] != self.identity:
            return None
        tensors = self.folder / state["tensors"]
        if not (tensors.is_file() and sha256_of(tensors) == state["sha256"]):
            print(f"{tensors}: missing or changed, so the run starts from scratch", flush=True)
            return None
        return state["data"], load_file(tensors)

    def save(self, data: dict, tensors: dict) -> None:
        """Write a checkpoint; the one before it stays valid until this one is whole.

        data: plain data with `task` and `step`, which name the file; `seconds` is added to it.
        """
        from safetensors.torch import save

        old = set(self.folder.glob("state-*.safetensors"))
        name = f"state-{self.identity[:8]}-{data['task']:04d}-{data['step']:08d}.safetensors"
        write(self.folder / name, save({key: tensor.contiguous() for key, tensor in tensors.items()}))
        state = {
            "identity": self.identity,
            "tensors": name,
            "sha256": sha256_of(self.folder / name),
            "data": data | {"seconds": self.seconds()},
        }
        self._write(self._state, state)
        for path in old - {self.folder / name}:
            path.unlink()
        self.saved = time.monotonic()

    def part(self, name: str):
        """Plain data that `save_part` stored as `name`; None if there is none of this identity or it is damaged."""
        return self._read(self._part(name))

    def save_part(self, name: str, value) -> None:
        """Store a finished part of the work, plain data, until the folder is removed."""
        self._write(self._part(name), value)

    def _part(self, name: str) -> Path:
        return self.folder / f"{self.identity}-{name}.json"

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    @staticmethod
    def _write(path, value) -> None:
        write(path, json.dumps({"value": value, "sha256": sha256(value)}))  # keeps the order of a row's cells

    @staticmethod
    def _read(path):
        """The value of a file that `_write` wrote; None when it is missing or damaged."""
        if not path.is_file():
            return None
        try:
            content = read_json(path)
            if content["sha256"] == sha256(content["value"]):
                return content["value"]
        except (UserError, KeyError, TypeError, RecursionError):
            pass
        print(f"{path}: damaged, so the work that it keeps is repeated", flush=True)
        return None


def clear(folder) -> None:
    """Remove a resume folder. Call this when the run's results are whole."""
    shutil.rmtree(folder)
