"""The configuration: checked as a whole, one line per mistake, with every default filled in.

`schemas/config.schema.yaml` describes the file; keys of one source, method, kind or figure are checked against the
`SCHEMA` of its own module. Nothing heavy is imported here, because this runs at every start.
"""

import math
from copy import deepcopy

from sparse_continual import registry
from sparse_continual.errors import ConfigError, UserError
from sparse_continual.pruning.check import is_found
from sparse_continual.runs.mechanism import mechanism_class
from sparse_continual.runs.tables import SECONDARY
from sparse_continual.schema import check_schema, schema_named
from sparse_continual.statistics.contrasts import arms as contrast_arms
from sparse_continual.statistics.contrasts import check as check_contrasts
from sparse_continual.statistics.contrasts import check_arms
from sparse_continual.yaml_text import read_yaml

VARIANTS = {
    "bases": ("bases.sources", "source", ("mixture", "recovery")),
    "topologies": (
        "pruning.methods",
        "method",
        ("pattern", "sparsity", "allocation", "counts", "on_sparse", "at"),
    ),
    "mechanisms": ("runs.mechanisms", "kind", ()),
    "streams": ("streams.sources", "source", ("start_token",)),
}
COMMON = ("source", "share", "start_token")  # keys of a mixture's entry that do not belong to its source
STORE = "store"  # results/store is shared by all studies


def checked(config: dict) -> dict:
    """A copy of `config` with defaults filled in.

    Raises ConfigError with one line for each unknown key, wrong type, value out of range and unknown name.
    """
    schema = schema_named("config")
    config = _plain(config)
    lines = _check_numbers("", config) or _name_published(config) or check_schema("", config, schema)
    if not lines:
        lines = [line for section in VARIANTS for line in _check_variants(section, config)]
        lines += _check_figures(config)
    if not lines:
        lines = _check_names(config) or _check_values(config)
    if lines:
        raise ConfigError(f"config: {line}" for line in lines)
    return config


def merged(paths, overrides=None) -> dict:
    """The config of the files at `paths`, each overriding those before it, and of `overrides`, which override all.

    Dictionaries are merged key by key; everything else is replaced whole.

    Raises UserError for a file that `read_yaml` refuses, or that has no keys.
    """
    from snakemake.utils import update_config

    config = {}
    for path in paths:
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: found no keys, expected the keys of config.yaml that it overrides")
        update_config(config, content)
    update_config(config, overrides or {})
    return config


def _plain(value):
    """A copy of what YAML read, with integral floats as integers, because `1.0e+3` means 1000.

    Snakemake (in `--config`) and programs that rewrite YAML turn the key `on` into true: `match: {to: ..., on:
    nonzeros}` means the word. A key set to null is dropped: this is how an overlay removes a key, because files are
    merged key by key.
    """
    if isinstance(value, dict):
        kept = {key: member for key, member in value.items() if member is not None}
        return {"on" if key is True else key: _plain(member) for key, member in kept.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return deepcopy(value)


def _name_published(config: dict) -> list[str]:
    """Write `source: published` and `registry` into bases that are entries of the registry of published checkpoints:
    those that name an entry, and with `dense_of` those from which another of these was pruned. In place; the schema
    checks everything that is not a mapping or a text.
    """
    bases = config.get("bases")
    bases = bases if isinstance(bases, dict) else {}
    bases = {
        name: base
        for name, base in bases.items()
        if isinstance(base, dict) and base.get("source", "published") == "published"
    }
    named = {name: base["registry"] for name, base in bases.items() if isinstance(base.get("registry"), str)}
    lines = []
    for name, base in bases.items():
        try:
            if "dense_of" in base:
                base["registry"] = _dense_of(base, named)
                del base["dense_of"]
            if "registry" in base:
                base["source"] = "published"
        except UserError as error:
            lines.append(f"bases.{name}.dense_of: {error}")
    return lines


def _dense_of(base: dict, named: dict) -> str:
    """Name in the registry of the dense counterpart of `base`; `named`: base -> its entry."""
    from sparse_continual.bases.published import entry

    other = base["dense_of"]
    if "registry" in base:
        raise UserError("expected without registry, which names an entry itself; remove one of the two")
    if other not in named:
        raise UserError(
            f"found {other!r}, expected the name of a base that has a registry{registry.nearest(other, named)}"
        )
    dense = entry(named[other]).get("dense")
    if dense is None:
        raise UserError(
            f"the registry knows no dense counterpart of {named[other]!r}; give the base its own registry, or repo"
        )
    return dense


def _check_numbers(where: str, value) -> list[str]:
    """Numbers without a range check, such as NaN, because no comparison refuses them."""
    if isinstance(value, dict):
        return [line for key, v in value.items() for line in _check_numbers(f"{where}.{key}", v)]
    if isinstance(value, list):
        return [line for key, v in enumerate(value) for line in _check_numbers(f"{where}.{key}", v)]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{where.strip('.')}: found {value}, expected a finite number"]
    return []


def _check_variant(where: str, entry: dict, package: str, name: str, common: tuple = ()) -> list[str]:
    """Mistakes of `entry` against the variant `name` of `package`; defaults are filled in place.

    common: keys of `entry` that do not belong to the variant, and were checked before.
    """
    try:
        schema = registry.schema(package, name)
    except UserError as error:
        return [f"{where}: {error}"]
    properties = dict.fromkeys(common, {}) | schema.get("properties", {})
    return check_schema(where, entry, {**schema, "properties": properties})


def _check_variants(section: str, config: dict) -> list[str]:
    package, selector, common = VARIANTS[section]
    lines = []
    for name, entry in config[section].items():
        lines += _check_variant(f"{section}.{name}", entry, package, entry[selector], (selector, *common))
        for number, member in enumerate(entry.get("mixture", ())):
            where = f"{section}.{name}.mixture.{number}"
            lines += _check_variant(where, member, "streams.sources", member["source"], COMMON)
    return lines


def _check_figures(config: dict) -> list[str]:
    sections = config["figures"].items()
    checks = (_check_variant(f"figures.{name}", settings, "figures", name) for name, settings in sections)
    return [line for lines in checks for line in lines]


def _check_names(config: dict) -> list[str]:
    """Names that refer to nothing."""
    lines = []

    def refer(where, name, section, known=None):
        known = list(config[section]) if known is None else known
        if name not in known:
            lines.append(
                f"{where}: found {name!r}, expected a name in {section}{registry.nearest(name, known)}"
            )

    for name, condition in config["conditions"].items():
        where = f"conditions.{name}"
        refer(f"{where}.base", condition["base"], "bases")
        refer(f"{where}.topology", condition["topology"], "topologies")
        refer(f"{where}.mechanism", condition["mechanism"], "mechanisms")
        if "like" in condition:
            refer(f"{where}.like", condition["like"], "topologies")
        if "match" in condition:
            refer(f"{where}.match.to", condition["match"]["to"], "topologies")
    for name in config["study"]["streams"]:
        refer("study.streams", name, "streams")
    study = config["study"]
    for name in study["conditions"]:
        refer("study.conditions", name, "conditions")
    for contrast in study["contrasts"]:
        for name in contrast.get("streams", ()):
            refer(f"study.contrasts: {contrast['name']}.streams", name, "study.streams", study["streams"])
    listed = {f"references.{kind}": study["references"][kind] for kind in ("single", "joint")}
    for where, names in {**listed, "repeat.conditions": study["repeat"]["conditions"]}.items():
        for name in names:
            refer(f"study.{where}", name, "study.conditions", study["conditions"])
    return lines


def _check_values(config: dict) -> list[str]:
    """Contradictions between values, which a schema cannot express."""
    lines = []
    study = config["study"]
    if study["name"] == STORE:
        lines.append(
            f"study.name: found {STORE!r}, expected another name: results/{STORE} is shared by all studies"
        )
    kinds = [{"steps"}, {"epochs"}, {"loss", "cap", "every"}]
    if set(study["training"]["stop"]) not in kinds:
        criteria = ", ".join(study["training"]["stop"]) or "nothing"
        lines.append(
            f"study.training.stop: found {criteria}, "
            "expected one of {steps}, {epochs} or {loss, cap, every}"
        )
    for name in [table.name for table in SECONDARY if table.asked(study)]:
        if study["keep_weights"] == "none":
            lines.append(
                f"study.secondary.{name}: found with keep_weights: none, expected all or last: it starts from the last "
                "weights"
            )
    if study["blocks"] % study["blocks_per_base"]:
        lines.append(
            f"study.blocks_per_base: found {study['blocks_per_base']} with {study['blocks']} blocks, expected a"
            " divisor: every base needs as many blocks"
        )
    if study["blocks_per_base"] > 1:
        for name in study["conditions"]:
            base = config["conditions"][name]["base"]
            if not _generated(config["bases"][base]):
                lines.append(
                    f"study.blocks_per_base: found {study['blocks_per_base']} with base {base!r} of condition {name!r},"
                    " expected 1: all blocks share a base that is not generated"
                )
                break
    rates = study["tuning"]["learning_rates"]
    if any(b <= a or b > 2.0001 * a for a, b in zip(rates, rates[1:], strict=False)):
        lines.append(
            f"study.tuning.learning_rates: found {rates}, expected increasing rates, "
            "neighbours at most a factor of 2 apart"
        )
    try:
        check_contrasts(study["contrasts"], study["conditions"])
    except UserError as error:
        lines.append(str(error))
    else:
        lines += _check_checkpoints(config)
    for name, base in config["bases"].items():
        if _generated(base) and "mixture" not in base:
            lines.append(f"bases.{name}: missing key 'mixture'; a generated base is pretrained on one")
        if "recovery" in base and "mixture" not in base:
            lines.append(f"bases.{name}: recovery needs a mixture to train on; add bases.{name}.mixture")
        distillation = base.get("recovery", {}).get("distillation")
        if distillation is not None and not {"logits", "squarehead"} & distillation.keys():
            lines.append(
                f"bases.{name}.recovery.distillation: found neither logits nor squarehead, expected the weight of at "
                "least one; for recovery without distillation remove the key"
            )
    for name, topology in config["topologies"].items():
        if topology.get("at") == "init" and not _at_init(topology["method"]):
            able = [method for method in registry.names("pruning.methods") if _at_init(method)]
            lines.append(
                f"topologies.{name}.at: found init with method {topology['method']!r}, expected "
                f"{' or '.join(', '.join(able).rsplit(', ', 1))}: other methods need a trained model"
            )
    for name in config["study"]["conditions"]:
        lines += _check_condition(name, config)
    if lines:  # a mistake here may be the reason why arms differ
        return lines
    return check_arms(config)


def _at_init(method: str) -> bool:
    """Whether the choice of a pruning method is meaningful before training."""
    return registry.load("pruning.methods", method).at_init


def _check_checkpoints(config: dict) -> list[str]:
    """Contrasts between different checkpoints that were not made here, without the estimand as_published; and contrasts
    of other bases with it."""
    lines = []
    for contrast in config["study"]["contrasts"]:
        names = [config["conditions"][arm]["base"] for arm in contrast_arms(contrast)]
        bases = [_model_of(config["bases"][name]) for name in names]
        differ = any(base != bases[0] for base in bases) and not all(map(_generated, bases))
        if differ and contrast["estimand"] != "as_published":
            lines.append(
                f"study.contrasts: {contrast['name']}: found estimand {contrast['estimand']} between bases "
                f"{', '.join(dict.fromkeys(names))}, expected as_published: checkpoints differ in more than their "
                "topology"
            )
        if contrast["estimand"] == "as_published" and not differ:
            lines.append(
                f"study.contrasts: {contrast['name']}: found estimand as_published with bases "
                f"{', '.join(dict.fromkeys(names))}, expected different checkpoints that were not generated here"
            )
    return lines


def _generated(base: dict) -> bool:
    """Whether every block makes its own base."""
    return registry.load("bases.sources", base["source"]).generated


def _model_of(base: dict) -> dict:
    """The settings of a base that name its model, without those of its training here."""
    return {key: value for key, value in base.items() if key not in ("mixture", "recovery")}


def _kinds(fits) -> str:
    """The kinds of mechanism whose class `fits`, as `a, b or c`."""
    kinds = [kind for kind in registry.names("runs.mechanisms") if fits(mechanism_class(kind))]
    return " or ".join(", ".join(kinds).rsplit(", ", 1))


def _check_condition(name: str, config: dict) -> list[str]:
    condition, where = config["conditions"][name], f"conditions.{name}"
    dense = config["topologies"][condition["topology"]]["method"] == "dense"
    kind = config["mechanisms"][condition["mechanism"]]["kind"]
    mechanism = mechanism_class(kind)
    generated = _generated(config["bases"][condition["base"]])
    lines = []
    if condition["writes"] != "all":
        if not dense:
            lines.append(
                f"{where}.writes: found {condition['writes']!r} on a sparse topology, expected a dense one"
            )
        if "like" not in condition:
            lines.append(f"{where}: missing key 'like'; name the topology whose places `writes` uses")
        if condition["writes"] not in mechanism.WRITES:
            able = _kinds(lambda other: condition["writes"] in other.WRITES)
            lines.append(f"{where}.writes: found {condition['writes']!r} with {kind}, expected {able}")
    elif "like" in condition:
        lines.append(f"{where}.like: expected only with writes: masked or random")
    if not condition["locked"] and dense:
        lines.append(
            f"{where}.locked: found false on a dense topology, expected a sparse one: "
            "a dense model has no absent weights"
        )
    if not condition["locked"] and mechanism.LOCKED_BY:
        ((key, (_, free)),) = mechanism.LOCKED_BY.items()
        lines.append(
            f"{where}.locked: found false with {kind}, expected {_kinds(lambda other: not other.LOCKED_BY)}; "
            f"{kind} writes to absent places with {key}: {free}"
        )
    for key, topology in (
        ("like", condition.get("like")),
        ("match.to", condition.get("match", {}).get("to")),
    ):
        if topology and config["topologies"][topology]["method"] == "dense":
            lines.append(f"{where}.{key}: found {topology!r}, which is dense, expected a sparse topology")
        if topology and is_found(config["topologies"][topology]):
            lines.append(
                f"{where}.{key}: found {topology!r}, whose weights are counted in the condition's own base, expected "
                "a topology that is made from a dense one"
            )
    for key in ("topology", "like"):
        topology = condition.get(key)
        at_init = topology and config["topologies"][topology].get("at") == "init"
        if at_init and not generated:
            lines.append(
                f"{where}.{key}: found {topology!r}, which is made at init, on base {condition['base']!r}, expected a "
                "generated base: only generated bases have their initial weights available"
            )
    if generated and is_found(config["topologies"][condition["topology"]]):
        lines.append(
            f"{where}.topology: found {condition['topology']!r}, which counts the zeros of a pruned checkpoint, on "
            f"base {condition['base']!r}, which is generated and has none; choose a method that prunes"
        )
    if "match" in condition:
        if not dense:
            lines.append(f"{where}.match: expected a dense topology: a control is dense")
        if not generated:
            lines.append(
                f"{where}.match: base {condition['base']!r} is not generated, so no control of another shape "
                "can be pretrained; use a generated base or remove the condition"
            )
    return lines
