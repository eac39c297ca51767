"""What a checkpoint says of its sparsity, to be held against the count: published declarations have been wrong.

Three places declare: a topology file beside the model; the sparsity block of config.json, which
compressed-tensors writes (`sparsity_config` inside `quantization_config`, by its older name `compression_config`);
an entry of the registry of published models. The first that is there is taken.
"""

from pathlib import Path

from sparse_continual.models.checkpoint import BLOCKS
from sparse_continual.topologies import bits

TOPOLOGY = "topology.safetensors"
TOLERANCE = 0.01  # of sparsity; declarations are rounded, and some count every parameter, embeddings included
STRUCTURES = {"0:0": "unstructured"}  # another word of compressed-tensors for no structure


def read(folder, config: dict, entry: dict | None) -> tuple[dict | None, bits.Bits | None]:
    """({"source", "format" or None, "pattern", "sparsity"} or None, the topology file or None) of the checkpoint in
    `folder`, with its parsed config.json and its entry in the registry or None.

    The topology file is that in the folder, or beside a folder called "model", where the workflow puts it. In
    config.json global_sparsity is a percentage.

    Raises UserError when the topology file is damaged or its masks are not those that it records.
    """
    folder = Path(folder)
    beside = [folder] + ([folder.resolve().parent] if folder.resolve().name == "model" else [])
    for place in beside:
        if (place / TOPOLOGY).is_file():
            file = bits.load(place / TOPOLOGY)
            sparsity = 1 - file.nonzeros / file.weights
            return _declared(TOPOLOGY, None, file.pattern, sparsity), file
    for key in BLOCKS:
        block = (config.get(key) or {}).get("sparsity_config")
        if block:
            structure = block.get("sparsity_structure")
            sparsity = block.get("global_sparsity")
            sparsity = sparsity / 100 if isinstance(sparsity, int | float) else None
            pattern = STRUCTURES.get(structure, structure)
            return _declared(f"config.json: {key}", block.get("format"), pattern, sparsity), None
    if entry:
        return _declared("registry", None, entry["pattern"], entry["sparsity"]), None
    return None, None


def _declared(source, form, pattern, sparsity) -> dict:
    return {"source": source, "format": form, "pattern": pattern, "sparsity": sparsity}


def contradictions(declared: dict, counted: dict) -> list[str]:
    """Clauses on where the count contradicts the declaration; [] where it does not.

    counted: {"format": as stored, "pattern", "sparsity" of the block weights, "overall" of all weights}.
    """
    found = []
    form, pattern, sparsity = declared["format"], declared["pattern"], declared["sparsity"]
    if form and form != counted["format"]:
        found.append(f"says format {form}, stored as {counted['format']}")
    if pattern in ("unstructured", "structured") and sparsity is not None and sparsity <= TOLERANCE:
        pattern = "dense"
    # whole lines that are absent are no pattern of their own to the count: they can be any
    if (
        pattern
        and pattern != "structured"
        and pattern != counted["pattern"]
        and not _groups_imply(counted["pattern"], pattern)
    ):
        found.append(f"says {pattern}, counted {counted['pattern']}")
    if sparsity is not None and all(
        abs(sparsity - counted[share]) > TOLERANCE for share in ("sparsity", "overall")
    ):
        found.append(
            f"says sparsity {sparsity:.1%}, counted {counted['sparsity']:.1%} of the block weights and "
            f"{counted['overall']:.1%} of all"
        )
    return found


def implies(one: str, other: str) -> bool:
    """Whether every matrix of pattern `one` has pattern `other` too: 1:4 is 2:4, and 2:4 is 4:8."""
    return one == other or one == "dense" or other == "unstructured" or _groups_imply(one, other)


def _groups_imply(one: str, other: str) -> bool:
    if ":" not in one or ":" not in other:
        return False
    (kept, of), (most, group) = ([int(number) for number in pattern.split(":")] for pattern in (one, other))
    # the most that a group of `group` can keep: those of the groups in it, or all of the one that it lies in
    worst = kept * (group // of) if group % of == 0 else kept if of % group == 0 else group
    return worst <= most
