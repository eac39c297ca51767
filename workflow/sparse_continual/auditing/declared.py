"""The sparsity that a checkpoint declares, for comparison with the count: published declarations have been wrong.

Three places declare: a topology file beside the model; the sparsity block of config.json, which compressed-tensors
writes (`sparsity_config` inside `quantization_config`, by its older name `compression_config`); an entry of the
registry of published models. The first one that exists is used.
"""

import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.models.checkpoint import BLOCKS
from sparse_continual.topologies import file as topology_file
from sparse_continual.topologies.density import implies, sparsity_agrees

TOPOLOGY = "topology.safetensors"
WORDS = ("dense", "unstructured", "structured")
STRUCTURES = {"0:0": "unstructured"}  # compressed-tensors' word for no structure


def read(folder, config: dict, entry: dict | None) -> tuple[dict | None, topology_file.Bits | None]:
    """({"source", "format" or None, "pattern", "sparsity"} or None, the topology file or None) of the checkpoint in
    `folder`, with its parsed config.json and its entry in the registry or None.

    The topology file is in the folder, or beside a folder called "model", where the workflow puts it. In config.json
    global_sparsity is a percentage; the sparsity block may be in the config of the text model.

    Raises UserError if the topology file is damaged or its masks differ from its record, and for a sparsity block that
    cannot be read.
    """
    folder = Path(folder)
    beside = [folder] + ([folder.resolve().parent] if folder.resolve().name == "model" else [])
    for place in beside:
        if (place / TOPOLOGY).is_file():
            file = topology_file.load(place / TOPOLOGY)
            sparsity = 1 - file.nonzeros / file.weights
            return _declared(TOPOLOGY, None, file.pattern, sparsity), file
    where = f"{folder / 'config.json'}"
    for fields, inside in ((config, ""), (config.get("text_config"), "text_config.")):
        for key in BLOCKS if isinstance(fields, dict) else ():
            outer = _fields(where, inside + key, fields.get(key))
            block = _fields(where, f"{inside}{key}.sparsity_config", outer.get("sparsity_config"))
            if block:
                return _declared(f"config.json: {inside}{key}", *_read(where, block)), None
    if entry:
        return _declared("registry", None, entry["pattern"], entry["sparsity"]), None
    return None, None


def _declared(source, form, pattern, sparsity) -> dict:
    return {"source": source, "format": form, "pattern": pattern, "sparsity": sparsity}


def _fields(where: str, key: str, value) -> dict:
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{where}: {key} is {value!r:.40}, expected fields in braces; correct or remove it")
    return value or {}


def _read(where: str, block: dict) -> tuple:
    """(format, pattern, sparsity) of a sparsity block; None for a missing one."""
    form, structure, percent = (block.get(key) for key in ("format", "sparsity_structure", "global_sparsity"))
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    for key, value, right, expected in (
        ("format", form, isinstance(form, str), "a word"),
        ("sparsity_structure", structure, _is_pattern(structure), "N:M, unstructured or structured"),
        ("global_sparsity", percent, number and 0 <= percent <= 100, "a percentage"),
    ):
        if value is not None and not right:
            raise UserError(f"{where}: {key} is {value!r:.40}, expected {expected}; correct or remove it")
    return form, STRUCTURES.get(structure, structure), None if percent is None else percent / 100


def _is_pattern(structure) -> bool:
    if not isinstance(structure, str):
        return False
    groups = re.fullmatch(r"([0-9]+):([0-9]+)", structure)
    return bool(groups and 0 < int(groups[1]) < int(groups[2])) or structure in (*STRUCTURES, *WORDS)


def contradictions(declared: dict, counted: dict) -> list[str]:
    """Clauses on contradictions between the declaration and the count; [] if there are none.

    counted: {"format": as stored, "pattern", "finest": pattern of the zeros, even of a few, "sparsity" of the block
    weights, "overall" of all weights}. A declared N:M is contradicted if a group keeps more than N, or nothing is
    sparse; "unstructured" if there is an N:M. The amount is compared by the sparsity.
    """
    clauses = []
    form, pattern, sparsity = declared["format"], declared["pattern"], declared["sparsity"]
    if form and form != counted["format"]:
        clauses.append(f"says format {form}, stored as {counted['format']}")
    # the count has no pattern for whole absent lines: they can have any pattern
    if pattern and pattern != "structured" and _is_wrong(pattern, sparsity, counted):
        clauses.append(f"says {pattern}, counted {counted['pattern']}")
    if sparsity is not None and not sparsity_agrees(sparsity, counted["sparsity"], counted["overall"]):
        clauses.append(
            f"says sparsity {sparsity:.1%}, counted {counted['sparsity']:.1%} of the block weights and "
            f"{counted['overall']:.1%} of all"
        )
    return clauses


def _is_wrong(pattern: str, sparsity, counted: dict) -> bool:
    if ":" in pattern:
        return not implies(counted["finest"], pattern)
    if pattern == "unstructured":
        return ":" in counted["pattern"] or (sparsity is None and counted["finest"] == "dense")
    return pattern != counted["pattern"]
