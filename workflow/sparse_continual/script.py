"""The frame of every thin script around its one call into the library."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from sparse_continual import integrity, registry
from sparse_continual.errors import UserError


@contextmanager
def job(snakemake):
    """Verify the inputs of the job, let it write, then record its outputs.

    All output goes to the rule's log. A user's mistake ends as one line without a traceback. Yields a dict, whose
    entries become facts of the manifest among the rule's outputs; `folder` is the folder that other stages load.
    """
    log = open(snakemake.log[0], "w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    facts: dict = {}
    try:
        integrity.verify_inputs(snakemake.input, snakemake.params.get("asked"))
        # before the job reads: the manifest must record the bytes that were read, even if they change meanwhile
        inputs = {str(source): integrity.digest_of(source) for source in snakemake.input}
        # by name, not by import: a result does not depend on the code that records when and where it was made
        provenance = registry.by_name("provenance") if any(map(_stored, snakemake.output)) else None
        started = provenance and provenance.at_start()
        yield facts
        for path in filter(integrity.is_manifest, snakemake.output):
            if _stored(path):
                provenance.write_provenance(Path(path).parent, started)
            _record(snakemake, path, facts, inputs)
    except UserError as error:
        raise SystemExit(str(error)) from None


def _stored(path) -> bool:
    """Whether an output is the manifest of an artifact of the store."""
    return Path(path).name == integrity.MANIFEST


def _record(snakemake, path, facts: dict, inputs: dict) -> None:
    """Write the manifest `path` of the job's outputs."""
    integrity.write_manifest(
        path,
        files=None if _stored(path) else [other for other in snakemake.output if other != path],
        settings=snakemake.params.get("settings"),
        code=snakemake.params.get("code"),
        inputs=inputs,
        **facts,
    )
