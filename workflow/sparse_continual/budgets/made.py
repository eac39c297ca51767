"""Shape and existing weights of a condition's checkpoint: counted, or declared before a download."""

import csv

from sparse_continual.integrity import read_manifest
from sparse_continual.models.shape import shape_of
from sparse_continual.topologies.counts import parse_pattern
from sparse_continual.topologies.density import common_pattern


def known(row: dict) -> dict:
    """A row of `Study.priced` with the shape of a downloaded model and the counts of its weights."""
    if row["shape"] is None:
        row = {**row, "shape": _shape(row)}
    if "densities" in row:
        with open(row["densities"], encoding="utf-8", newline="") as handle:
            matrices = list(csv.DictReader(handle))
        pattern = common_pattern((matrix["pattern"], matrix["density"]) for matrix in matrices)
        row = {**row, "pattern": pattern, "nonzeros": sum(int(matrix["nonzeros"]) for matrix in matrices)}
    return row


def _shape(row: dict) -> dict:
    """The shape of the model, with FLOPs for the rows that are priced."""
    manifest = read_manifest(row["model"])
    if not manifest["shape"].get("counted"):
        return manifest["shape"]
    rows = {row["row_tokens"], *(text["tokens"] for text in [(row["making"] or {}).get("text")] if text)}
    return shape_of(manifest["folder"], manifest["trust_remote_code"], rows)


def declared(row: dict, shape: dict, facts: dict) -> dict | None:
    """The row before a download: `shape`, {} if not known, and the registry's `facts` (pattern and sparsity) of a
    topology that will be counted. None if too little is known for a price."""
    if not shape:
        return None
    row = {**row, "shape": shape}
    if "densities" not in row:
        return row
    pattern, sparsity = facts.get("pattern"), facts.get("sparsity")
    if pattern in (None, "dense") or (pattern == "unstructured" and sparsity is None):
        return None
    return {**row, "pattern": pattern, "sparsity": None if parse_pattern(pattern) else sparsity}
