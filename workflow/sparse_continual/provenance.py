"""When, where and with which versions an artifact was made: facts that need not be equal, and that no job reads.

Jobs look this module up by name (`registry.by_name`), so that no digest of code contains it: a change here re-runs
nothing.
"""

import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sparse_continual.files import write_json
from sparse_continual.integrity import PROVENANCE

PACKAGES = "torch transformers tokenizers safetensors peft numpy scipy pandas statsmodels matplotlib snakemake".split()


def at_start() -> dict:
    """Facts at the start of a job, before it reads its inputs: the time, versions, the machine, the commit, its diff.

    They are recorded at the start because code may be edited while the job runs.
    """
    return {
        "began": time.time(),
        "versions": versions(),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": platform.machine(),
        },
        **_checkout(),
    }


def write_provenance(folder, started: dict) -> None:
    """Write `provenance.json` of an artifact that is finished now. started: from `at_start`."""
    began = datetime.fromtimestamp(started["began"], UTC).isoformat(timespec="seconds")
    seconds = round(time.time() - started["began"], 2)
    write_json(Path(folder) / PROVENANCE, {**started, "began": began, "seconds": seconds})


def versions() -> dict[str, str]:
    """Package -> installed version, of this package, Python and the packages that can affect results."""
    import sparse_continual

    installed = {"sparse_continual": sparse_continual.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def _checkout() -> dict:
    """{commit, diff} of the running checkout; None outside a git checkout."""

    def git(*words):
        line = ["git", "-C", str(Path(__file__).resolve().parent), *words]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=20, errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit and commit.strip(), "diff": commit and git("diff", "HEAD")}
