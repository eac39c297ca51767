"""Checkpoints from which a killed run goes on to the same numbers.

They lie in a folder that Snakemake does not know of, so that it neither deletes them nor takes them
for results. A lock keeps an orphaned process and its successor apart; the identity of what made them
(settings and code) keeps a changed run from going on with an old one.
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
        self.folder, self.identity, self.saved = Path(folder), identity, time.monotonic()

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{self.folder}: another process is training this run; wait for it, or end it, and start again"
            ) from None
        return self

    def __exit__(self, *_):
        self.lock.close()

    def due(self) -> bool:
        """Whether the last checkpoint is older than EVERY seconds."""
        return time.monotonic() - self.saved > EVERY

    def load(self) -> tuple[dict, dict] | None:
        """(plain data, {name: tensor}) of the last checkpoint; None when there is none of this identity."""
        from safetensors.torch import load_file

        if not (self.folder / "state.json").is_file():
            return None
        state = read_json(self.folder / "state.json")
        if state["identity"] != self.identity:
            return None
        return state["data"], load_file(self.folder / state["tensors"])

    def save(self, data: dict, tensors: dict) -> None:
        """Write a checkpoint; the one before it stays valid until this one is whole."""
        from safetensors.torch import save

        old = set(self.folder.glob("state-*.safetensors"))
        name = f"state-{data['task']:04d}-{data['step']:08d}.safetensors"
        write(self.folder / name, save({key: tensor.contiguous() for key, tensor in tensors.items()}))
        write_json(self.folder / "state.json", {"identity": self.identity, "tensors": name, "data": data})
        for path in old - {self.folder / name}:
            path.unlink()
        self.saved = time.monotonic()

    def clear(self) -> None:
        """Remove the folder once the run's results are whole."""
        shutil.rmtree(self.folder)
