"""Checkpoints from which a killed run goes on to the same numbers.

They lie in a folder that Snakemake does not know of, so that it neither deletes them nor takes them
for results. A lock keeps an orphaned process and its successor apart; the identity of what made them
(settings, code, content of the inputs) keeps a changed run from going on with an old one.
"""

import fcntl
import shutil
import time
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json, write, write_json

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
        """Seconds spent on the run so far; a process that goes on sets `before` from the checkpoint."""
        return self.before + time.monotonic() - self.began

    def due(self) -> bool:
        """Whether the last checkpoint is older than EVERY seconds."""
        return time.monotonic() - self.saved > EVERY

    def load(self) -> tuple[dict, dict] | None:
        """(plain data, {name: tensor}) of the last checkpoint.

        None when there is none of this identity, and for a damaged one: the run starts from scratch.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not self._state.is_file():
            return None
        try:
            state = read_json(self._state)
            if state["identity"] != self.identity:
                return None
            return state["data"], load_file(self.folder / state["tensors"])
        except (UserError, KeyError, FileNotFoundError, SafetensorError) as error:
            print(f"{self._state}: damaged, so the run starts from scratch: {error}", flush=True)
            return None

    def save(self, data: dict, tensors: dict) -> None:
        """Write a checkpoint; the one before it stays valid until this one is whole.

        data: plain data with `task` and `step`, which name the file; `seconds` is added to it.
        """
        from safetensors.torch import save

        old = set(self.folder.glob("state-*.safetensors"))
        name = f"state-{self.identity[:8]}-{data['task']:04d}-{data['step']:08d}.safetensors"
        write(self.folder / name, save({key: tensor.contiguous() for key, tensor in tensors.items()}))
        write_json(
            self._state,
            {"identity": self.identity, "tensors": name, "data": data | {"seconds": self.seconds()}},
        )
        for path in old - {self.folder / name}:
            path.unlink()
        self.saved = time.monotonic()

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"


def clear(folder) -> None:
    """Remove a resume folder. Call once the run's results are whole."""
    shutil.rmtree(folder)
