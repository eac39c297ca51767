"""What every thin script does around its one call into the library."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from sparse_continual import integrity
from sparse_continual.errors import UserError


@contextmanager
def job(snakemake):
    """Verify what the job reads, let it write, then record what it wrote.

    All output goes to the rule's log. A user's mistake ends as one line without a traceback. Yields a dict: what the
    script puts in becomes facts of the manifest that the rule declares among its outputs; `folder` is the folder that
    other stages load.
    """
    log = open(snakemake.log[0], "w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    began, facts = time.time(), {}
    try:
        integrity.verify_inputs(snakemake.input, snakemake.params.get("asked"))
        yield facts
        _record(snakemake, facts, began)
    except UserError as error:
        raise SystemExit(str(error)) from None


def _record(snakemake, facts: dict, began: float) -> None:
    """Write the manifest of the job's outputs, and the provenance of an artifact of the store."""
    for path in filter(integrity.is_manifest, snakemake.output):
        stored = Path(path).name == integrity.MANIFEST
        if stored:
            integrity.write_provenance(Path(path).parent, began)
        integrity.write_manifest(
            path,
            files=None if stored else [other for other in snakemake.output if other != path],
            settings=snakemake.params.get("settings"),
            code=snakemake.params.get("code"),
            inputs={str(given): integrity.digest_of(given) for given in snakemake.input},
            **facts,
        )
