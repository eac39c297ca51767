"""Every mistake of a configuration is told in a line of its own; defaults are filled in."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from sparse_continual.errors import ConfigError
from sparse_continual.pruning.methods import magnitude, wanda
from sparse_continual.schema import schema_named
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
DROP = object()


def changed(*changes):
    """The default config with values set (or dropped) at dotted keys."""
    config = deepcopy(DEFAULT)
    for dotted, value in changes:
        *path, last = dotted.split(".")
        place = config
        for key in path:
            place = place[int(key) if isinstance(place, list) else key]
        if value is DROP:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value
    return config


def mistakes(*changes):
    with pytest.raises(ConfigError) as caught:
        checked(changed(*changes))
    assert str(caught.value) == "\n".join(caught.value.lines)
    assert all(line.startswith("config: ") and "\n" not in line for line in caught.value.lines)
    return [line.removeprefix("config: ") for line in caught.value.lines]


def test_the_default_study_is_valid():
    config = checked(DEFAULT)
    assert len(config["study"]["conditions"]) == 10 and Study(config).name == "default"


def test_schema_is_one_and_describes_its_keys():
    schema = schema_named("config")
    jsonschema.Draft202012Validator.check_schema(schema)

    def undescribed(where, part):
        for key, member in part.get("properties", {}).items():
            if not {"description", "$ref", "properties"} & set(member) and key not in ("name", "contrasts"):
                yield f"{where}.{key}"
            yield from undescribed(f"{where}.{key}", member)

    assert not list(undescribed("", schema))


def test_its_input_is_left_alone():
    config = changed(("study.scoring", DROP), ("study.tuning.blocks", 2.0))
    before = deepcopy(config)
    checked(config)
    assert config == before


def test_defaults_are_filled_in():
    config = checked(
        changed(
            ("study.scoring", DROP),
            ("study.statistics", DROP),
            ("study.contrasts", DROP),
            ("study.seed", DROP),
            ("study.training.ends", DROP),
            ("mechanisms.lora", {"kind": "lora", "rank": 2}),
            ("bases.tiny.mixture", [{"source": "facts", "people": 128}]),
            ("bases.tiny.recovery.warmup", DROP),
        )
    )
    study = config["study"]
    assert study["scoring"] == {"batch_size": 256}
    assert study["statistics"]["learning_margin"] == 0.05 and study["statistics"]["level"] == 0.05
    assert study["contrasts"] == [] and study["seed"] == 0 and study["keep_weights"] == "all"
    assert study["training"]["ends"] == "frozen"
    assert config["mechanisms"]["lora"] == {"kind": "lora", "rank": 2, "alpha": 16, "form": "masked"}
    (entry,) = config["bases"]["tiny"]["mixture"]
    assert entry["share"] == 1 and entry["employers"] == 8
    assert config["bases"]["tiny"]["recovery"]["warmup"] == 0
    assert config["conditions"]["sparse"]["locked"] is True
    assert config["conditions"]["sparse"]["writes"] == "all"


def test_numbers_and_keys_as_yaml_reads_them():
    text = """
      steps: 1.0e+3
      match: {to: sparse_2of4, on: flops}
      gone: null
    """
    read = yaml.safe_load(text)
    assert True in read["match"]  # YAML 1.1
    config = changed(
        ("study.training.stop", {"steps": read["steps"], "epochs": read["gone"]}),
        ("conditions.matched_flops.match", read["match"]),
    )
    found = checked(config)
    assert found["study"]["training"]["stop"] == {"steps": 1000}
    assert type(found["study"]["training"]["stop"]["steps"]) is int
    assert found["conditions"]["matched_flops"]["match"] == {"to": "sparse_2of4", "on": "flops"}


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        # unknown keys
        ("stdy", {}, "top level: unknown key 'stdy' (did you mean 'study'?); there are bases, topologies,"),
        (
            "study.block",
            3,
            "study: unknown key 'block' (did you mean 'blocks'?); there are name, seed, phase, blocks",
        ),
        ("conditions.dense.lokced", True, "conditions.dense: unknown key 'lokced' (did you mean 'locked'?)"),
        ("bases.tiny.recovry", {}, "bases.tiny: unknown key 'recovry' (did you mean 'recovery'?)"),
        ("bases.tiny.shape.head", 4, "bases.tiny.shape: unknown key 'head' (did you mean 'heads'?)"),
        (
            "bases.tiny.mixture.0.peple",
            4,
            "bases.tiny.mixture.0: unknown key 'peple' (did you mean 'people'?)",
        ),
        ("mechanisms.replay.shares", 0.5, "mechanisms.replay: unknown key 'shares' (did you mean 'share'?)"),
        ("streams.people.peple", 4, "streams.people: unknown key 'peple' (did you mean 'people'?)"),
        (
            "topologies.sparse_2of4.patern",
            1,
            "topologies.sparse_2of4: unknown key 'patern' (did you mean 'pat",
        ),
        ("figures.density.titel", "x", "figures.density: unknown key 'titel' (did you mean 'title'?)"),
        ("study.training.stop.step", 3, "study.training.stop: unknown key 'step' (did you mean 'steps'?)"),
        # missing keys
        ("study", DROP, "top level: missing key 'study'; add it"),
        ("study.blocks", DROP, "study: missing key 'blocks'; add it"),
        ("conditions.dense.base", DROP, "conditions.dense: missing key 'base'; add it"),
        ("bases.tiny.pretraining", DROP, "bases.tiny: missing key 'pretraining'; add it"),
        ("mechanisms.lora.rank", DROP, "mechanisms.lora: missing key 'rank'; add it"),
        # types
        (
            "bases.tiny.pretraining.learning_rate",
            "1e-4",
            "bases.tiny.pretraining.learning_rate: found '1e-4', expected number "
            "(YAML reads numbers such as 1e-4 as text: write 1.0e-4)",
        ),
        ("study.blocks", "six", "study.blocks: found 'six', expected integer"),
        ("study.blocks", 2.5, "study.blocks: found 2.5, expected integer"),
        ("study.blocks", True, "study.blocks: found True, expected integer"),
        ("study.streams", "people", "study.streams: found 'people', expected array"),
        ("study.streams", [None], "study.streams.0: found None, expected string"),
        ("conditions.dense.locked", "no", "conditions.dense.locked: found 'no', expected boolean"),
        ("bases", ["tiny"], "bases: found ['tiny'], expected object"),
        (
            "topologies.sparse_2of4.pattern",
            124,
            "topologies.sparse_2of4.pattern: found 124, expected string (write it in quotes)",
        ),
        # ranges
        ("study.blocks", 0, "study.blocks: found 0, expected at least 1"),
        ("study.seed", -1, "study.seed: found -1, expected at least 0"),
        ("study.tuning.blocks", 1, "study.tuning.blocks: found 1, expected at least 2"),
        ("study.streams", [], "study.streams: found [], expected at least 1 entries"),
        (
            "study.streams",
            ["people", "people"],
            "study.streams: found ['people', 'people'], expected no entry twice",
        ),
        ("study.statistics.level", 0.6, "study.statistics.level: found 0.6, expected at most 0.5"),
        ("study.statistics.level", 0, "study.statistics.level: found 0, expected more than 0"),
        ("mechanisms.replay.share", 1, "mechanisms.replay.share: found 1, expected less than 1"),
        ("bases.tiny.mixture", [], "bases.tiny.mixture: found [], expected at least 1 entries"),
        ("bases.tiny.mixture.0.share", 0, "bases.tiny.mixture.0.share: found 0, expected more than 0"),
        (
            "study.tuning.learning_rates",
            [float("nan")],
            "study.tuning.learning_rates.0: found nan, expected a finite",
        ),
        (
            "bases.tiny.recovery.learning_rate",
            float("inf"),
            "bases.tiny.recovery.learning_rate: found inf, expected",
        ),
        # choices
        (
            "conditions.dense.writes",
            "mask",
            "conditions.dense.writes: found 'mask', expected one of all, masked, random (did you mean "
            "'masked'?)",
        ),
        (
            "study.training.ends",
            "frozn",
            "study.training.ends: found 'frozn', expected one of frozen, trained (did you mean 'frozen'?)",
        ),
        (
            "mechanisms.lora.form",
            "sides",
            "mechanisms.lora.form: found 'sides', expected one of masked, side (did",
        ),
        (
            "conditions.matched_flops.match.on",
            "flop",
            "conditions.matched_flops.match.on: found 'flop', expected one of nonzeros, flops (did you mean "
            "'flops'?)",
        ),
        # names that could leave results/
        ("study.name", "../elsewhere", "study.name: found '../elsewhere', expected letters, digits, _ and -"),
        ("study.name", "a/b", "study.name: found 'a/b', expected letters, digits, _ and -"),
        ("study.name", "", "study.name: found '', expected letters, digits, _ and -"),
        ("study.name", "a\n", "study.name: found 'a\\n', expected letters, digits, _ and -"),
        ("study.name", "-rf", "study.name: found '-rf', expected letters, digits, _ and -"),
        ("study.name", "x" * 65, "expected at most 64 characters"),
        ("study.name", "store", "study.name: found 'store', expected another name: results/store is shared"),
        (
            "streams.up/and",
            {"source": "facts", "people": 9},
            "streams: found 'up/and', expected letters, digits",
        ),
        # variants that are not there
        (
            "bases.tiny.source",
            "generatd",
            "bases.tiny: bases.sources: no variant 'generatd' (did you mean 'generated'?)",
        ),
        (
            "topologies.dense.method",
            "dens",
            "topologies.dense: pruning.methods: no variant 'dens' (did you mean 'dense'?)",
        ),
        (
            "mechanisms.lora.kind",
            "loar",
            "mechanisms.lora: runs.mechanisms: no variant 'loar' (did you mean 'lora'?)",
        ),
        (
            "streams.people.source",
            "fact",
            "streams.people: streams.sources: no variant 'fact' (did you mean 'facts'?)",
        ),
        (
            "streams.people.start_token",
            "sometimes",
            "streams.people.start_token: found 'sometimes', expected one of auto, always, never",
        ),
        (
            "bases.tiny.mixture.0.start_token",
            True,
            "bases.tiny.mixture.0.start_token: found True, expected one of auto, always, never",
        ),
        (
            "bases.tiny.mixture.0.source",
            "fact",
            "bases.tiny.mixture.0: streams.sources: no variant 'fact' (did",
        ),
        ("figures.densty", {}, "figures.densty: figures: no variant 'densty' (did you mean 'density'?)"),
        # names that refer to nothing
        (
            "conditions.dense.base",
            "tny",
            "conditions.dense.base: found 'tny', expected a name in bases (did you mean 'tiny'?)",
        ),
        (
            "conditions.dense.topology",
            "dens",
            "conditions.dense.topology: found 'dens', expected a name in topologies (did",
        ),
        (
            "conditions.dense.mechanism",
            "lor",
            "conditions.dense.mechanism: found 'lor', expected a name in mechanisms (did",
        ),
        (
            "conditions.masked_writes.like",
            "sparse",
            "conditions.masked_writes.like: found 'sparse', expected a name in topologies",
        ),
        (
            "conditions.matched_flops.match.to",
            "2of4",
            "conditions.matched_flops.match.to: found '2of4', expected a name in topologies",
        ),
        (
            "study.streams",
            ["peple"],
            "study.streams: found 'peple', expected a name in streams (did you mean 'people'?)",
        ),
        (
            "study.contrasts.0.plus",
            ["sprse"],
            "study.contrasts: lock: condition 'sprse' is not in study.conditions (did you mean 'sparse'?)",
        ),
        # contradictions
        (
            "study.training.stop",
            {},
            "study.training.stop: found nothing, expected one of {steps}, {epochs} or {loss, cap, every}",
        ),
        (
            "study.training.stop",
            {"steps": 3, "epochs": 1},
            "study.training.stop: found steps, epochs, expected one of",
        ),
        (
            "study.training.stop",
            {"loss": 0.5, "cap": 9},
            "study.training.stop: found loss, cap, expected one of",
        ),
        (
            "study.tuning.learning_rates",
            [1e-3, 3e-3],
            "study.tuning.learning_rates: found [0.001, 0.003], expected increasing rates, neighbours at "
            "most a factor of 2 apart",
        ),
        (
            "study.tuning.learning_rates",
            [2e-3, 1e-3],
            "study.tuning.learning_rates: found [0.002, 0.001], expected increasing",
        ),
        (
            "study.contrasts.1.name",
            "lock",
            "study.contrasts: lock: the name is used twice; give each contrast its own",
        ),
        (
            "study.contrasts.0.minus",
            ["dense", "unlocked"],
            "study.contrasts: lock: plus has 1 and minus 2 conditions; expected one against one, two "
            "against two for an interaction, or one against none for a level",
        ),
        (
            "study.contrasts.0.minus",
            ["sparse"],
            "study.contrasts: lock: a condition appears twice; its conditions must differ",
        ),
        (
            "conditions.masked_writes.topology",
            "sparse_2of4",
            "conditions.masked_writes.writes: found 'masked' on a sparse topology, expected a dense one",
        ),
        (
            "conditions.masked_writes.like",
            DROP,
            "conditions.masked_writes: missing key 'like'; name the topology whose places",
        ),
        (
            "conditions.masked_writes.mechanism",
            "lora",
            "conditions.masked_writes.writes: found 'masked' with lora, expected ewc, finetune or replay",
        ),
        (
            "conditions.masked_writes.like",
            "dense",
            "conditions.masked_writes.like: found 'dense', which is dense, expected a sparse topology",
        ),
        (
            "conditions.dense.like",
            "sparse_2of4",
            "conditions.dense.like: expected only with writes: masked or random",
        ),
        (
            "conditions.dense.locked",
            False,
            "conditions.dense.locked: found false on a dense topology, expected a sparse one",
        ),
        (
            "conditions.sparse_lora.locked",
            False,
            "conditions.sparse_lora.locked: found false with lora, expected ewc, finetune or replay; "
            "lora writes to absent places with form: side",
        ),
        (
            "conditions.matched_flops.match.to",
            "dense",
            "conditions.matched_flops.match.to: found 'dense', which is dense, expected",
        ),
        (
            "conditions.matched_flops.topology",
            "sparse_2of4",
            "conditions.matched_flops.match: expected a dense topology: a control is dense",
        ),
        # topologies at init, and teachers
        (
            "topologies.sparse_2of4.at",
            "start",
            "topologies.sparse_2of4.at: found 'start', expected one of trained, init",
        ),
        (
            "topologies.wanda",
            {"method": "wanda", "pattern": "2:4", "at": "init"},
            "topologies.wanda.at: found init with method 'wanda', expected imp, magnitude, random or snip: other "
            "methods need a trained model",
        ),
        (
            "topologies.dense.at",
            "init",
            "topologies.dense.at: found init with method 'dense', expected imp",
        ),
        (
            "bases.tiny.recovery.distillation",
            {"logits": 0},
            "bases.tiny.recovery.distillation.logits: found 0, expected more than 0",
        ),
        (
            "bases.tiny.recovery.distillation",
            {"temperature": 2},
            "bases.tiny.recovery.distillation: found neither logits nor squarehead, expected the weight of at least "
            "one; for recovery without distillation remove the key",
        ),
        (
            "bases.tiny.recovery.distillation",
            {"squarehead": 1, "teacher": "tiny"},
            "bases.tiny.recovery.distillation: unknown key 'teacher'; there are logits, squarehead, temperature",
        ),
        (
            "bases.tiny.pretraining.distillation",
            {"logits": 1},
            "bases.tiny.pretraining: unknown key 'distillation'",
        ),
    ],
)
def test_a_mistake_ends_in_one_line(key, value, line):
    (found,) = mistakes((key, value))
    assert line in found and (found.startswith(line) or "64 characters" in line)


def test_a_published_base_has_no_matched_control_and_recovers_on_its_mixture_alone():
    local = {"source": "local", "path": "checkpoints/base"}
    lines = mistakes(("bases.tiny", {**local, "recovery": DEFAULT["bases"]["tiny"]["recovery"]}))
    assert "bases.tiny: recovery needs a mixture to train on; add bases.tiny.mixture" in lines
    for name in ("matched_nonzeros", "matched_flops"):
        (line,) = [line for line in lines if line.startswith(f"conditions.{name}.match")]
        assert "base 'tiny' is not generated, so no control of another shape can be pretrained" in line
    assert len(lines) == 3


def test_a_published_base_has_no_topology_at_init():
    local = {"source": "local", "path": "checkpoints/base"}
    lines = mistakes(
        ("bases.tiny", local),
        ("topologies.sparse_2of4.at", "init"),
        ("study.conditions", ["dense", "sparse", "masked_writes"]),
        ("study.contrasts", []),
    )
    assert lines == [
        f"conditions.{name}: found 'sparse_2of4', which is made at init, on base 'tiny', expected a generated base: "
        "only generated bases have their initial weights available"
        for name in ("sparse.topology", "masked_writes.like")
    ]


def test_a_method_says_itself_that_it_works_at_init(monkeypatch):
    wanted = ("topologies.sparse_2of4", {"method": "wanda", "pattern": "2:4", "at": "init"})
    with monkeypatch.context() as patch:
        patch.setattr(wanda, "METHOD", replace(wanda.METHOD, at_init=True))
        checked(changed(wanted))
    monkeypatch.setattr(magnitude, "METHOD", replace(magnitude.METHOD, at_init=False))
    (line,) = mistakes(wanted)
    assert "found init with method 'wanda', expected imp, random or snip: other" in line


def test_a_teachers_defaults():
    config = checked(changed(("bases.tiny.recovery.distillation", {"squarehead": 1})))
    assert config["bases"]["tiny"]["recovery"]["distillation"] == {"squarehead": 1, "temperature": 1}
    assert "distillation" not in checked(DEFAULT)["bases"]["tiny"]["recovery"]
    assert "at" not in checked(DEFAULT)["topologies"]["sparse_2of4"]


def test_one_mistake_may_show_in_two_places():
    assert mistakes(("bases.tiny.mixture", DROP)) == [
        "bases.tiny: missing key 'mixture'; a generated base is pretrained on one",
        "bases.tiny: recovery needs a mixture to train on; add bases.tiny.mixture",
    ]
    lines = mistakes(
        ("study.conditions", ["sparse", "unlockd"]), ("study.contrasts", DEFAULT["study"]["contrasts"][:1])
    )
    assert lines == [
        "study.conditions: found 'unlockd', expected a name in conditions (did you mean 'unlocked'?)",
    ]


def test_every_mistake_has_its_line():
    lines = mistakes(
        ("study.blocks", 0),
        ("study.block", 1),
        ("study.streem", 1),
        ("conditions.dense", {"base": "tiny"}),
        ("study.training.batch_size", "32"),
    )
    assert sorted(line.split(";")[0].split(" (")[0] for line in lines) == [
        "conditions.dense: missing key 'mechanism'",
        "conditions.dense: missing key 'topology'",
        "study.blocks: found 0, expected at least 1",
        "study.training.batch_size: found '32', expected integer",
        "study: unknown key 'block'",
        "study: unknown key 'streem'",
    ]


def test_a_condition_outside_the_study_may_wait():
    """The library may hold what this study does not use; what it uses is checked."""
    config = changed(("conditions.later", {"base": "tiny", "topology": "dense", "mechanism": "finetune"}))
    config["conditions"]["later"]["locked"] = False
    checked(config)
    config["study"]["conditions"].append("later")
    with pytest.raises(ConfigError, match="conditions.later.locked"):
        checked(config)


PUBLISHED = {
    "sparse_llama": {"registry": "Sparse-Llama-3.1-8B-2of4"},
    "llama": {"dense_of": "sparse_llama", "revision": "01" * 20},
    "masked": {"registry": "LLaMA-3.1-8B-MaskLLM-C4"},
}


def checkpoints():
    return (
        *((f"bases.{name}", base) for name, base in deepcopy(PUBLISHED).items()),
        ("topologies.as_published", {"method": "counted"}),
        ("conditions.sparse", {"base": "sparse_llama", "topology": "as_published", "mechanism": "finetune"}),
        ("conditions.unlocked.base", "sparse_llama"),
        ("conditions.unlocked.topology", "as_published"),
        ("conditions.dense.base", "llama"),
        ("study.conditions", ["dense", "sparse", "unlocked"]),
        ("study.claims", DROP),
    )


def between(estimand, plus="sparse", minus="dense"):
    return ("study.contrasts", [{"name": "x", "plus": [plus], "minus": [minus], "estimand": estimand}])


def test_a_published_base_is_named_by_the_registry_or_by_what_was_pruned_from_it():
    bases = checked(changed(*checkpoints(), between("as_published")))["bases"]
    assert bases["sparse_llama"]["source"] == bases["llama"]["source"] == "published"
    assert bases["llama"]["registry"] == "Llama-3.1-8B" and "dense_of" not in bases["llama"]
    assert bases["llama"]["revision"] == "01" * 20 and "revision" not in bases["sparse_llama"]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (
            "bases.llama.dense_of",
            "sparse_lama",
            "bases.llama.dense_of: found 'sparse_lama', expected the name of a",
        ),
        (
            "bases.llama.dense_of",
            "tiny",
            "bases.llama.dense_of: found 'tiny', expected the name of a base that has",
        ),
        ("bases.llama.registry", "phi-2", "bases.llama.dense_of: expected without registry"),
        (
            "bases.sparse_llama.registry",
            "Sparse-Llama-3.1-8B-2of",
            "bases.llama.dense_of: registry: no published model 'Sparse-Llama-3.1-8B-2of' (did you mean",
        ),
        (
            "bases.sparse_llama.registry",
            "Llama-3.1-8B",
            "bases.llama.dense_of: the registry knows no dense counterpart of 'Llama-3.1-8B'",
        ),
        (
            "bases.sparse_llama.repo",
            "a/b",
            "bases.sparse_llama: unknown key 'repo'; there are source, mixture, recovery, registry",
        ),
        (
            "conditions.sparse.base",
            "tiny",
            "conditions.sparse.topology: found 'as_published', which counts the zeros of a pruned checkpoint, on base",
        ),
        (
            "conditions.dense",
            {
                **{"base": "llama", "topology": "dense", "mechanism": "finetune"},
                **{"writes": "masked", "like": "as_published"},
            },
            "conditions.dense.like: found 'as_published', whose weights are counted in the condition's own base",
        ),
    ],
)
def test_mistakes_about_published_bases(key, value, line):
    found = mistakes(*checkpoints(), between("lock", minus="unlocked"), (key, value))
    assert [one for one in found if one.startswith(line)]


@pytest.mark.parametrize("estimand", ["same_shape", "other", "lock"])
def test_different_checkpoints_are_compared_as_published_alone(estimand):
    (line,) = mistakes(*checkpoints(), between(estimand))
    assert f"study.contrasts: x: found estimand {estimand} between bases sparse_llama, llama" in line
    assert "expected as_published" in line


def test_one_checkpoint_or_generated_bases_are_no_contrast_as_published():
    (line,) = mistakes(*checkpoints(), between("as_published", minus="unlocked"))
    assert "found estimand as_published with bases sparse_llama, expected different checkpoints" in line
    (line,) = mistakes(("study.contrasts.0.estimand", "as_published"))
    assert "found estimand as_published with bases tiny" in line


SIDE = {"kind": "lora", "rank": 8, "alpha": 32, "form": "side"}
ARMS = (  # besides those of the default study
    ("mechanisms.side", SIDE),
    ("mechanisms.wide", {**SIDE, "rank": 16}),
    ("conditions.side_lora", {"base": "tiny", "topology": "sparse_2of4", "mechanism": "side"}),
    ("conditions.wide_lora", {"base": "tiny", "topology": "sparse_2of4", "mechanism": "wide"}),
    ("topologies.magnitude", {"method": "magnitude", "pattern": "2:4"}),
    ("topologies.one_of_four", {"method": "magnitude", "pattern": "1:4"}),
    ("conditions.magnitude", {"base": "tiny", "topology": "magnitude", "mechanism": "finetune"}),
    ("conditions.one_of_four", {"base": "tiny", "topology": "one_of_four", "mechanism": "finetune"}),
)
ADDED = ["side_lora", "wide_lora", "magnitude", "one_of_four"]


def contrasting(estimand, plus, minus):
    contrast = {"name": "x", "plus": plus.split(), "minus": minus.split(), "estimand": estimand}
    known = [*DEFAULT["study"]["conditions"], *ADDED]
    return *ARMS, ("study.conditions", known), ("study.contrasts", [contrast])


@pytest.mark.parametrize(
    ("estimand", "plus", "minus", "differ"),
    [
        ("lock", "sparse", "dense", "topology"),
        ("lock", "dense_lora", "dense_replay", "mechanism"),
        ("lock", "unlocked", "sparse", "locked"),
        ("lock", "sparse_lora", "wide_lora", "mechanism"),
        ("lock", "side_lora", "sparse_lora", "mechanism"),
        ("lock", "sparse dense", "dense_lora sparse_replay", "mechanism, topology"),
        ("same_shape", "sparse", "matched_flops", "match, topology"),
        ("same_shape", "dense", "sparse", "topology"),
        ("same_shape", "sparse", "magnitude", "topology"),
        ("matched_nonzeros", "sparse", "dense_replay", "mechanism, topology"),
        ("matched_nonzeros", "sparse", "dense", "topology"),
        ("matched_nonzeros", "sparse", "matched_flops", "match, topology"),
        ("matched_nonzeros", "one_of_four", "matched_nonzeros", "match, topology"),
        ("matched_flops", "sparse_lora", "matched_flops", "match, mechanism, topology"),
        ("stacking", "sparse_lora", "dense", "mechanism, topology"),
        ("stacking", "dense_lora", "dense_replay", "mechanism"),
        ("stacking", "sparse_lora dense", "sparse dense_replay", "mechanism, topology"),
        ("writes", "masked_writes", "sparse", "like, topology, writes"),
    ],
)
def test_arms_differ_in_what_the_estimand_is_about(estimand, plus, minus, differ):
    changes = contrasting(estimand, plus, minus)
    (line,) = mistakes(*changes)
    less = f"{', '.join(plus.split())} less {', '.join(minus.split())}"
    assert line.startswith(
        f"study.contrasts: x: found estimand {estimand} of {less}, which differ in {differ}"
    )
    assert line.endswith("; for any other comparison use estimand other") and "; expected " in line
    assert checked(changed(*contrasting("other", plus, minus)))


@pytest.mark.parametrize(
    ("estimand", "plus", "minus"),
    [
        ("lock", "sparse_lora", "side_lora"),
        (
            "matched_nonzeros",
            "magnitude",
            "matched_nonzeros",
        ),  # one control serves all of a pattern and sparsity
        ("matched_flops", "magnitude", "matched_flops"),
        ("same_shape", "one_of_four", "dense"),
        ("stacking", "sparse_replay dense", "dense_replay sparse"),
    ],
)
def test_arms_that_are_what_the_estimand_says(estimand, plus, minus):
    assert checked(changed(*contrasting(estimand, plus, minus)))
