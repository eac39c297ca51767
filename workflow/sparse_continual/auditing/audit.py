"""Find out what kind of sparsity a checkpoint has, from its weights and not from its card.

Every matrix is counted (`patterns.count`), shard by shard; experts and ReLU are read from config.json (`activation`);
the checkpoint's declarations are compared with the count (`declared`). A checkpoint has a fixed topology if more than
ZEROS of its block weights are exactly zero. Weights that were trained and only rounded rarely are zero (about 1 % in
8-bit integers, almost none in bfloat16 and 8-bit floats), and published pruned checkpoints start at a fifth. With fewer
zeros it has one if a topology file beside it agrees with them. For int8 weights with a zero point, a weight is zero if
it equals the zero point. A checkpoint is dense only if every block weight was counted.

Limits. Bit-packed weights are not counted: such a checkpoint is `not-counted`, for every declaration. In a checkpoint
converted back from 4 bits about a fifth of the weights are zero by rounding, and these zeros count as a topology. Parts
are distinguished by names and shapes. Experts that are stored as one tensor [experts, a, b] are counted as a matrix
[experts * a, b], whichever of the two is the input.
"""

import itertools
import math
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sparse_continual.auditing import activation, declared, tensor_names
from sparse_continual.bases import download, published
from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.models import checkpoint, reader
from sparse_continual.models.load import ROUTERS
from sparse_continual.registry import nearest
from sparse_continual.topologies import zeros
from sparse_continual.topologies.density import ZEROS, common_pattern, layer_of
from sparse_continual.topologies.file import count as ones

PARTS = ("block", "embedding", "head", "norm", "router", "other")
HEADS = ("lm_head", "embed_out", "output")
EMBEDDINGS = re.compile(r"embed|(^|\.)(wte|wpe)\.")
TOWERS = re.compile(r"vision|visual|image|audio|speech")  # modalities besides the language model
SCALES = re.compile(r"_scales?(_inv)?$")  # of quantised weights
CODES = "integers, which may be codes of weights"
BESIDE = re.compile(
    r"bias|mask|position|index|scale|zero"
)  # last words of the names of tensors in a block that are not weights
NOT_COUNTED = "not-counted"  # the verdict if nothing shows a topology, and weights were left uncounted
ZERO_POINT = "_zero_point"  # end of the name of the zero point of a quantised weight
OTHERS = (".gguf", ".msgpack", ".h5")  # endings of weights that are neither safetensors nor pickles
TRAINING = re.compile("training_args|optimizer|scheduler|rng_state")  # pickles of a run, without weights
AT_ONCE = 2  # tensors: one is read from the disk while another is counted
TRANSPOSED = ("gpt2", "openai-gpt")  # store a linear's weight [inputs, outputs]: transformers' Conv1D


def locate(word: str, converted=None, config_only=False) -> tuple[Path, dict | None, str | None]:
    """(folder, entry in the registry or None, downloaded commit or None) of a word from the user: a folder; the name of
    an entry; or owner/name of a repository on the hub, with @revision to override the registry's or the default one.

    Anything but a folder is downloaded; with `config_only` only its config. `converted`: folder for the safetensors of
    repositories that hold only pickles; None refuses them.

    Raises UserError for any other word, a file's name included, and as `bases.download.fetch` does.
    """
    if Path(word).is_dir():
        return Path(word), None, None
    repo, _, revision = word.partition("@")
    entries = [published.entry(name) for name in published.names()]
    entry = next((entry for entry in entries if repo in (entry["name"], entry["repo"], *entry["also"])), None)
    if entry is None and Path(word).exists():
        raise UserError(f"{word}: is a file, expected a folder; give its folder, {Path(word).parent}")
    if entry is None and (repo.count("/") != 1 or Path(repo).parent.is_dir()):
        raise UserError(
            f"{word}: no such folder, and no name in the registry{nearest(word, published.names())}; expected one of "
            "them, or owner/name of a repository on the hub"
        )
    if entry and entry["kind"] == "masks":
        raise UserError(f"{word}: holds only masks; apply them to {entry['dense']} and audit the result")
    repo, revision = entry["repo"] if entry else repo, revision or (entry["revision"] if entry else None)
    if config_only:
        path = download.fetch(repo, revision, kind="config")
        return path, entry, path.name
    folder = Path(converted) / repo.replace("/", "--") if converted else None
    path = download.fetch(repo, revision, folder, convert_pickles=folder is not None, to_load=False)
    # converted pickles are kept apart from the cache, whose folders are named by their commits
    source = download.cached(repo, revision, "config") if path == folder else path
    return path, entry, source.name if source else None


def audit(folder, name=None, entry=None, config_only=False, revision=None) -> dict:
    """Judge the checkpoint in `folder`, called `name` in the report. entry: its entry in the registry, or None.
    config_only: do not read its weights. revision: the commit of its repository, for the report.

    Returns {"path": name, "revision", "verdict": "dense", "fixed-topology", "activation-sparse", "both" or NOT_COUNTED,
    "reason": one sentence, "model_type", "format", "pattern" and "density" of the block matrices, "declared", "moe",
    "relu", "keys", "parts", "matrices"}. The verdict is "activation-sparse" from the config alone, counted or not; it
    is NOT_COUNTED if the config shows no sparse activation, the count no topology, and some block weights were not
    counted.

    declared: None, or from `declared.read`, with "contradictions"; moe and relu: see `activation.judge`; keys: None, or
    see `keys.held_against`; parts: part -> {"weights", "nonzeros"}; matrices: a row per matrix in order of layers,
    `patterns.count` with "name", "part", "layer" or None, "module", "weights". Without weights, or if they are packed,
    format, pattern, density and keys are None, and parts and matrices empty.

    Raises UserError for a folder without config.json, broken or pickled weights, a config that cannot be judged,
    and a topology file that is damaged or has other matrices.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a checkpoint with config.json")
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder}: no config.json; expected a checkpoint, or a folder with its config.json alone"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.json'}: found no fields, expected a Hugging Face model config")
    says = activation.judge(config, str(folder / "config.json"))
    declaration, file = declared.read(folder, config, entry)
    why = "only the config was to be looked at" if config_only else _not_counted(folder)
    opened = None if why else reader.Checkpoint(folder)
    if file and opened:
        file = tensor_names.as_stored(config, file, opened.shapes)
    says_pattern = declaration["pattern"] if declaration else None
    declared_groups = says_pattern if says_pattern and ":" in says_pattern else None
    rows, parts, violations, odd, uncounted, hidden = (
        _count(opened, config.get("model_type"), file, declared_groups)
        if opened
        else ([], {}, [], [], Counter(), 0)
    )
    sparsity = _sparsity(parts, ("block",))
    whole = sparsity is not None and not hidden
    fixed = sparsity is not None and sparsity > ZEROS
    form = opened.format if opened else None
    blocks = [(row["pattern"], row["density"]) for row in rows if row["part"] == "block"]
    finest = None if sparsity is None else common_pattern(blocks, declared_groups)
    if declaration:
        counted = {
            "format": form,
            "pattern": finest if fixed else "dense",
            "finest": finest,
            "sparsity": sparsity,
            "overall": _sparsity(parts, PARTS),
        }
        declaration["contradictions"] = (
            [] if sparsity is None else declared.contradictions(declaration, counted) + violations
        )
    if (
        file and sparsity and not declaration["contradictions"]
    ):  # the file lists the absent weights, even a few
        fixed = fixed or file.nonzeros < file.weights
    pattern = finest if fixed or finest is None else "dense"
    return {
        "path": str(name or folder),
        "revision": revision,
        "verdict": _verdict(fixed, says, whole),
        "reason": _reason(fixed, says, pattern, sparsity, rows, odd, why, uncounted, whole, declaration),
        "model_type": says["model_type"],
        "format": form,
        "pattern": pattern,
        "density": None if sparsity is None else 1 - sparsity,
        "declared": declaration,
        "moe": says["moe"],
        "relu": says["relu"],
        "keys": tensor_names.held_against(config, opened.shapes) if opened else None,
        "parts": parts,
        "matrices": rows,
    }


def compare(folders: list, reports: list[dict]) -> list[dict]:
    """One row for every two of the `folders` (with their `audit` reports) with block matrices of equal names and
    shapes: `patterns.relation` with "first" and "second", their paths, and "first_sha256" and "second_sha256", the
    hashes of their topologies as in topology files. Experts that are stored one by one count under these names; those
    that are stored as one tensor are left out.
    """
    shapes = [
        {row["name"]: (row["rows"], row["columns"]) for row in report["matrices"] if row["part"] == "block"}
        for report in reports
    ]
    comparisons, hashes = [], {}
    for one, other in itertools.combinations(range(len(folders)), 2):
        if not shapes[one] or shapes[one] != shapes[other]:
            continue
        opened = {number: reader.Checkpoint(folders[number]) for number in (one, other)}
        matrices = [name for name in shapes[one] if len(opened[one].shapes[name]) == 2]
        row = zeros.relation(zeros.compare(*opened.values(), matrices))
        for number, word in ((one, "first"), (other, "second")):
            if number not in hashes:
                hashes[number] = zeros.topology_hash(opened[number], matrices)
            row |= {word: reports[number]["path"], f"{word}_sha256": hashes[number]}
        comparisons.append(row)
    return comparisons


def part_of(name: str, shape) -> str:
    """One of PARTS, of a parameter by its name and shape."""
    words, inside = name.lower().split("."), _in_block(name)
    if TOWERS.search(name):
        return "other"
    if inside and any(word in ROUTERS for word in words):
        return "router"
    if len(shape) < 2:
        return "norm" if any("norm" in word or word.startswith("ln") for word in words) else "other"
    if inside:
        conv = any("conv" in word for word in words)
        whole = words[-1] == "weight" or (
            ".experts." in name and "bias" not in words[-1] and not SCALES.search(words[-1])
        )
        return (
            "block" if whole and not conv and "bias" not in name and not EMBEDDINGS.search(name) else "other"
        )
    if words[-1] == "weight" and any(word in HEADS for word in words):
        return "head"
    return "embedding" if EMBEDDINGS.search(name) else "other"


def _not_counted(folder) -> str:
    """Why no weight of the folder is counted, as a clause; "" if they are counted."""
    weight_files = {path.name for path in folder.glob("*.safetensors")} - {declared.TOPOLOGY}
    if not weight_files and not (folder / checkpoint.INDEX).is_file():
        other = sorted(
            path.name
            for path in folder.iterdir()
            if path.suffix in (*checkpoint.PICKLES, *OTHERS) and not TRAINING.match(path.name)
        )
        if not other:
            return "the folder has no weights"
        kind = "a format that is not read" if Path(other[0]).suffix in OTHERS else "pickled weights"
        raise UserError(f"{folder / other[0]}: {kind}; expected safetensors; convert to safetensors")
    if any(name.endswith(checkpoint.PACKED) for name in checkpoint.entries(folder)):
        return "the weights are packed by the bit"
    return ""


def _count(opened, model_type, file, pattern) -> tuple[list, dict, list, list, Counter, int]:
    """(rows of matrices, parts, clauses on contradictions between the weights and a topology `file`, names of tensors
    with values that are not finite, kind of tensor -> number of uncounted ones, number of these that may be weights of
    blocks) of an open checkpoint.

    pattern: the declared N:M of block matrices, or None.
    """
    rows, parts, violations, odd, uncounted, hidden = [], {}, [], [], Counter(), 0
    missing = next((name for name in file.shapes if name not in opened.shapes), None) if file else None
    if missing:
        raise UserError(
            f"{opened.folder}: {missing}: the topology file has this matrix, the checkpoint has not"
        )
    names = [name for name in opened.shapes if not name.endswith(reader.OF_QUANTISATION)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for result in pool.map(lambda name: _look(opened, name, model_type, file, pattern), names):
            uncounted.update(result.get("uncounted", ()))
            hidden += result.get("hidden", 0)
            violations += result.get("violations", ())
            odd += result.get("odd", ())
            rows += result.get("rows", ())
            if "part" in result:
                tally = parts.setdefault(result["part"], {"weights": 0, "nonzeros": 0})
                for key in tally:
                    tally[key] += result[key]
    rows.sort(key=lambda row: -1 if row["layer"] is None else row["layer"])
    return rows, {part: parts[part] for part in PARTS if part in parts}, violations, odd, uncounted, hidden


def _look(opened, name: str, model_type, file, pattern) -> dict:
    """The contribution of one tensor to `_count`: "part", "weights", "nonzeros", "rows", "odd" and "violations"; or
    "uncounted", as lists, and "hidden", whether it may be a weight of a block; {} for codes beside the weights."""
    shape, dtype = opened.shapes[name], opened.dtype_of(name)
    hidden = len(shape) > 1 and _in_block(name) and not BESIDE.search(name.rpartition(".")[2])
    if dtype not in reader.DTYPES:
        return {"uncounted": [f"type {dtype}, which is not read"], "hidden": hidden}
    if dtype == "I8" and name + ZERO_POINT in opened.shapes:
        exists = _exists(opened[name], opened[name + ZERO_POINT])
        packed_bits = None if exists is None else zeros.packed(zeros.as_rows(exists))
    elif dtype == "I8" or opened.torch_type(name).is_floating_point:
        packed_bits = zeros.packed_in(opened, name)
    else:
        packed_bits = None  # each number packs several weights
    if packed_bits is None:
        return {"uncounted": [CODES], "hidden": hidden} if len(shape) > 1 else {}
    part = part_of(name, shape)
    looked = {"part": part, "weights": math.prod(shape), "nonzeros": ones(packed_bits[0])}
    looked["odd"] = [name] if packed_bits[2] else []
    if file and name in file.shapes:
        looked["violations"] = _against(file, name, shape, packed_bits[0])
    if part not in ("norm", "other") and len(shape) > 1:
        size = math.prod(shape[:-1]), shape[-1]
        if part == "block" and model_type in TRANSPOSED:
            packed_bits, size = (zeros.turned(packed_bits[0], size[1]), *packed_bits[1:]), size[::-1]
        row = zeros.described(packed_bits, *size, pattern if part == "block" else None)
        looked["rows"] = [{**_place(name, part), "weights": looked["weights"], **row}]
    return looked


def _in_block(name: str) -> bool:
    """Whether a tensor lies in one of a list of blocks: a number is among the words before its last."""
    return any(word.isdigit() for word in name.split(".")[:-1])


def _exists(codes, zero_point):
    """bool of the shape of `codes`: the weights that differ from `zero_point`: one number, one per row, or one per
    group of neighbours in a row; None for another shape of it."""
    if zero_point.numel() == 1:
        return codes != zero_point.flatten()
    if zero_point.ndim == codes.ndim - 1:
        zero_point = zero_point.unsqueeze(-1)
    groups, columns = zero_point.shape[-1], codes.shape[-1]
    if zero_point.shape[:-1] != codes.shape[:-1] or not groups or columns % groups:
        return None
    return codes != zero_point.repeat_interleave(columns // groups, -1)


def _against(file, name: str, shape, exists) -> list[str]:
    """Clauses on contradictions between a matrix of `shape`, with packed bits `exists`, and the topology file."""
    if tuple(shape) != file.shapes[name]:
        raise UserError(
            f"{name}: the checkpoint's is {checkpoint.by(shape)}, the topology file's "
            f"{checkpoint.by(file.shapes[name])}"
        )
    wrong = ones(zeros.flat(exists, shape[-1]) & ~file.bits[name])
    return [f"{name}: {wrong} weights that it says are absent are not zero"] if wrong else []


def _place(name: str, part: str) -> dict:
    module = name.removesuffix(".weight").rpartition(".")[2]
    inside = any(word.isdigit() for word in name.split(".")[1:])
    return {"name": name, "part": part, "layer": layer_of(name) if inside else None, "module": module}


def _sparsity(parts: dict, of) -> float | None:
    """Share of zeros in some of the parts; None if they hold no weight."""
    held = [parts[part] for part in of if part in parts]
    weights = sum(part["weights"] for part in held)
    return 1 - sum(part["nonzeros"] for part in held) / weights if weights else None


def _sparse(rows: list[dict]) -> list[dict]:
    absent = [row for row in rows if row["part"] == "block" and row["density"] < 1]
    return [row for row in absent if row["density"] < 1 - ZEROS] or absent


def _verdict(fixed: bool, says: dict, whole: bool) -> str:
    """whole: whether every block weight was counted."""
    sparse_activation = bool(says["moe"] or says["relu"])
    if fixed:
        return "both" if sparse_activation else "fixed-topology"
    if sparse_activation:
        return "activation-sparse"
    return "dense" if whole else NOT_COUNTED


def _reason(fixed, says, pattern, sparsity, rows, odd, why, uncounted, whole, declaration) -> str:
    ways, moe = [], says["moe"]
    if moe:
        ways.append(f"MoE {moe['active_experts'] or 'some'} of {moe['experts']}")
    if says["relu"]:
        ways.append(f"ReLU: {says['relu']}")
    activation_sparse = [f"activation-sparse ({', '.join(ways)})"] if ways else []
    if fixed:
        blocks = sum(row["part"] == "block" for row in rows)
        kind = " and ".join([*activation_sparse, f"fixed topology ({pattern})"])
        where = f"in {len(_sparse(rows))} of {blocks} matrices"
        reason = f"{kind}: {sparsity:.1%} of the block weights are exactly zero, {where}"
    elif not whole:
        known = activation_sparse[0] if activation_sparse else "neither experts to choose from nor ReLU"
        reason = f"{known} by its config; whether its connections are fixed is not known: "
        reason += f"{_says(declaration)}, and {_left(sparsity, why, uncounted)}"
    elif activation_sparse:
        reason = f"{activation_sparse[0]}: {'' if sparsity else 'every weight exists; '}not a fixed topology"
    else:
        reason = "dense" if sparsity else "dense: every weight exists"
    if not fixed and sparsity and whole:
        share = f"{sparsity:.1%}" if sparsity >= 5e-4 else "under 0.1%"
        reason += f"{'; ' if activation_sparse else ': '}{share} of the block weights are zero, and a fixed "
        reason += f"topology begins above {ZEROS:.0%}"
    if odd:
        more = f" and of {len(odd) - 1} more tensors" if odd[1:] else ""
        reason += f"; weights of {odd[0]}{more} are infinite or no numbers"
    if uncounted and (fixed or whole):
        reason += f"; {_left(sparsity, why, uncounted)}"
    if not says["known"]:
        looked = ", ".join((*activation.EXPERTS, *activation.ACTIVATIONS))
        return f"{reason}; {says['note']}, so it was judged by its fields alone, of which {looked} were looked for"
    return f"{reason}; {says['note']}" if says["note"] else reason


def _says(declaration: dict | None) -> str:
    """Clause on the sparsity that the checkpoint declares."""
    if not declaration:
        return "it declares nothing"
    share = "" if declaration["sparsity"] is None else f", sparsity {declaration['sparsity']:.1%}"
    return f"it declares {declaration['pattern'] or 'no pattern'}{share} ({declaration['source']})"


def _left(sparsity: float | None, why: str, uncounted: Counter) -> str:
    """Clause on the tensors that were not counted."""
    if sparsity is None:
        return f"no weight was counted, since {why or 'no tensor is a block matrix of real numbers'}"
    return "; ".join(f"{number} tensors of {kind}, were not counted" for kind, number in uncounted.items())
