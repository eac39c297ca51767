"""Names of results: equal where the work is equal, different where it is not, unmoved by what is added."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from sparse_continual import registry
from sparse_continual.budgets.demand import preparation, priced, prunings
from sparse_continual.budgets.plan import plan_text
from sparse_continual.errors import UserError
from sparse_continual.schema import schema_named
from sparse_continual.study import config as config_module
from sparse_continual.study import names as study_names
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
WITHOUT_CONTRASTS = {"study__contrasts": [], "study__claims": None}


def study_of(**changes):
    """The default study with values set at dotted keys (written with `__`)."""
    config = deepcopy(DEFAULT)
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        place = config
        for key in path:
            place = place[key]
        place[last] = value
    return Study(checked(config))


@pytest.fixture(scope="module")
def default():
    return study_of()


def names(study, *stages, blocks=None):
    """{(stage, condition, block): folder name} of everything that the study's cells are made from."""
    found = {}
    for cell in study.runs("people"):
        if blocks and cell.block not in blocks:
            continue
        waiting = [cell.score]
        while waiting:
            entity = waiting.pop()
            found.setdefault((entity.stage, cell.condition, cell.block), set()).add(entity.name)
            for made_from in entity.inputs.values():
                waiting += made_from if isinstance(made_from, list) else [made_from]
    return {key: value for key, value in found.items() if not stages or key[0] in stages}


def differing(one, other):
    """{(stage, condition)} whose folders differ between two studies."""
    a, b = names(one), names(other)
    assert a.keys() == b.keys()
    return {key[:2] for key in a if a[key] != b[key]}


def turned(value):
    """The same data with the keys of every dict in reverse order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(member) for member in value] if isinstance(value, list) else value


def test_names_do_not_depend_on_key_order_or_on_how_a_number_is_written(default):
    other = turned(deepcopy(DEFAULT))
    other["bases"]["tiny"]["pretraining"]["steps"] = float(DEFAULT["bases"]["tiny"]["pretraining"]["steps"])
    other["streams"]["people"]["people"] = float(DEFAULT["streams"]["people"]["people"])
    other["study"]["training"]["stop"]["steps"] = float(DEFAULT["study"]["training"]["stop"]["steps"])
    other["study"]["blocks"] = float(DEFAULT["study"]["blocks"])
    assert names(Study(checked(other))) == names(default)


def test_names_do_not_depend_on_the_studys_name_or_on_defaults_written_out(default):
    assert names(study_of(study__name="another")) == names(default)
    config = checked(deepcopy(DEFAULT))
    assert names(Study(checked(config))) == names(default)
    assert study_of(study__name="another").name == "another"


def test_an_added_block_or_condition_renames_nothing(default):
    more = study_of(study__blocks=9)
    assert len(more.runs("people")) == 90
    assert names(more, blocks=default.blocks) == names(default)
    assert [more.order("people", b) for b in default.blocks] == [
        default.order("people", b) for b in default.blocks
    ]
    conditions = [*DEFAULT["study"]["conditions"], "side"]
    config = deepcopy(DEFAULT)
    config["mechanisms"]["side"] = {"kind": "lora", "rank": 2, "form": "side"}
    config["conditions"]["side"] = {"base": "tiny", "topology": "sparse_2of4", "mechanism": "side"}
    config["study"]["conditions"] = conditions
    added = names(Study(checked(config)))
    assert {key: value for key, value in added.items() if key[1] != "side"} == names(default)


def test_a_second_study_shares_models_and_another_seed_does_not(default):
    second = study_of(
        study__name="second", study__blocks=3, study__conditions=["dense", "sparse"], study__contrasts=[],
        study__claims=None,
        study__training={"batch_size": 16, "stop": {"steps": 7}},
    )  # fmt: skip
    shared = ("models", "topologies", "streams")
    for stage in shared:
        ours, theirs = (set.union(*names(study, stage).values()) for study in (second, default))
        assert ours < theirs
    assert not set.union(*names(second, "runs").values()) & set.union(*names(default, "runs").values())
    other = study_of(study__seed=1)
    for stage in (*shared, "runs", "tuning", "scores"):
        a, b = (set.union(*names(study, stage).values()) for study in (default, other))
        assert not a & b, stage


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"study__scoring": {"batch_size": 7}}, {"scores"}),
        ({"study__training": {"batch_size": 7, "stop": {"steps": 3}}}, {"tuning", "runs", "scores"}),
        ({"study__tuning": {**DEFAULT["study"]["tuning"], "tasks": 2}}, {"tuning", "runs", "scores"}),
        ({"study__statistics": {"level": 0.01}}, set()),
        ({"study__keep_weights": "last"}, set()),
        ({"figures": {}}, set()),
    ],
)
def test_a_setting_renames_what_depends_on_it(change, stages, default):
    found = differing(default, study_of(**change))
    assert found == {(stage, condition) for stage in stages for condition in default.conditions}


@pytest.mark.parametrize(
    ("change", "conditions", "stages"),
    [
        # a mechanism: its conditions alone
        (
            {"mechanisms__lora": {"kind": "lora", "rank": 4}},
            {"dense_lora", "sparse_lora"},
            {"tuning", "runs", "scores"},
        ),
        # locked, like, writes: one condition alone
        (
            {"conditions__unlocked__locked": True, **WITHOUT_CONTRASTS},
            {"unlocked"},
            {"tuning", "runs", "scores"},
        ),
        (
            {"conditions__masked_writes__writes": "random"},
            {"masked_writes"},
            {"tuning", "runs", "scores"},
        ),
        # the control's target: another shape, so another model
        (
            {
                "conditions__matched_flops__match": {"to": "sparse_2of4", "on": "nonzeros"},
                **WITHOUT_CONTRASTS,
            },
            {"matched_flops"},
            {"models", "topologies", "tuning", "runs", "scores"},
        ),
    ],
)
def test_a_condition_renames_itself_alone(change, conditions, stages, default):
    found = differing(default, study_of(**change))
    assert found == {(stage, condition) for stage in stages for condition in conditions}


def test_another_pattern_renames_every_condition_that_has_it(default):
    found = differing(default, study_of(topologies__sparse_2of4={"method": "magnitude", "pattern": "1:4"}))
    sparse = {"sparse", "unlocked", "sparse_lora", "sparse_replay", "masked_writes"}
    matched = {"matched_nonzeros", "matched_flops"}
    assert {condition for _, condition in found} == sparse | matched
    assert ("models", "sparse") not in found and ("topologies", "sparse") in found
    assert {("models", name) for name in matched} <= found


def test_every_block_has_its_own_base_stream_and_order(default):
    for stage in ("models", "streams", "topologies"):
        folders = names(default, stage)
        for condition in ("dense", "sparse", "matched_flops"):
            own = [folders[stage, condition, block] for block in default.blocks]
            tuned = set.intersection(*own)  # tuning blocks are in every block's past
            assert all(len(folder - tuned) >= 1 for folder in own)
            assert len(set.union(*[folder - tuned for folder in own])) == sum(
                len(folder - tuned) for folder in own
            )
    orders = [tuple(default.order("people", block)) for block in default.blocks]
    assert len(set(orders)) == 6 and all(sorted(order) == sorted(orders[0]) for order in orders)
    for position in range(6):
        assert len({order[position] for order in orders}) == 6
    assert [len(default.order("people", block)) for block in default.tuning_blocks] == [3, 3]


def test_conditions_of_one_base_share_it_within_a_block(default):
    runs = {(cell.condition, cell.block): cell.run for cell in default.runs("people")}
    for block in default.blocks:
        dense, sparse, unlocked, masked = (
            runs[name, block] for name in ("dense", "sparse", "unlocked", "masked_writes")
        )
        assert sparse.inputs["base"] == unlocked.inputs["base"] != dense.inputs["base"]
        assert masked.inputs["base"] == dense.inputs["base"]
        assert masked.inputs["like"] == sparse.inputs["base"] and "like" not in sparse.inputs
        assert len({run.inputs["stream"].name for key, run in runs.items() if key[1] == block}) == 1
        assert sparse.settings["arm"] == {**unlocked.settings["arm"], "locked": True}
        assert not unlocked.settings["arm"]["locked"] and masked.settings["arm"]["writes"] == "masked"
        assert sparse.settings["order"] == default.order("people", block)


def test_tuning_is_one_for_all_blocks_and_enters_no_statistic(default):
    tunings = {
        cell.run.inputs["tuning"].name for cell in default.runs("people") if cell.condition == "sparse"
    }
    (entity,) = [found for name, found in default.tunings("people") if name == "sparse"]
    assert tunings == {entity.name}
    assert [block["block"] for block in entity.settings["blocks"]] == ["tuning-1", "tuning-2"]
    tuned = {found.name for found in entity.inputs["base"]}
    measured = {c.run.inputs["base"].name for c in default.runs("people") if c.condition == "sparse"}
    assert len(tuned) == 2 and not tuned & measured


def test_every_entity_is_found_by_its_name(default):
    for cell in default.runs("people"):
        assert default.get("runs", cell.run.name) is cell.run
        assert cell.run.path == f"results/store/runs/{cell.condition}-{cell.run.digest[:8]}"
        assert cell.run.manifest == f"{cell.run.path}/manifest.json"
    json.dumps([cell.run.settings for cell in default.runs("people")])
    assert {(name, block) for name, block, _ in default.topologies("people")} == {
        (name, block) for name in ("dense", "sparse_2of4") for block in default.blocks
    }


def nonzeros(shape, density=1.0):
    head = shape["hidden_size"] // shape["heads"]
    rows = shape["hidden_size"] * head * (2 * shape["heads"] + 2 * shape["kv_heads"])
    return density * shape["layers"] * (rows + 3 * shape["hidden_size"] * shape["intermediate_size"])


def test_matched_shapes(default):
    parent = default.shape("dense")
    assert default.shape("sparse") == parent == default.shape("unlocked")
    assert default.control("dense") is None
    target = nonzeros(parent, 0.5)
    shape = default.shape("matched_nonzeros")
    assert abs(nonzeros(shape) / target - 1) <= 0.01
    assert default.control("matched_nonzeros").error == pytest.approx(nonzeros(shape) / target - 1)
    assert abs(default.control("matched_flops").error) <= 0.01
    for name in ("matched_nonzeros", "matched_flops"):
        model = default.model(name, "1")
        assert {key: default.shape(name)[key] for key in parent if key in model.settings["shape"]} == (
            model.settings["shape"]
        )
        assert model.label == "tiny" and model.name != default.model("dense", "1").name
        assert model.inputs == default.model("dense", "1").inputs  # the same mixture, the same tokens


def entities(study, condition, block="1"):
    """The topology of a condition and the names of what it is made from, by role."""
    made = study.topology(condition, block)
    return made, {role: entity.name for role, entity in made.inputs.items()}


def test_a_topology_at_init_is_made_from_the_initial_weights_of_its_base(default):
    at_init = {"method": "random", "pattern": "2:4", "at": "init"}
    study = study_of(topologies__sparse_2of4=at_init)
    made, inputs = entities(study, "sparse")
    dense, mixture = study.model("sparse", "1"), study.mixture("sparse", "1")
    initial = study.get("models", inputs["model"])
    assert initial.label == "tiny_initial" and not initial.inputs
    assert {**initial.settings, "pretraining": dense.settings["pretraining"]} == dense.settings
    assert inputs == {"model": initial.name, "mixture": mixture.name}
    assert made.settings["pretraining"] == DEFAULT["bases"]["tiny"]["pretraining"]
    assert made.settings["seed"] == dense.settings["seed"]  # so that its batches are the dense base's
    assert made.settings["topology"] == {"method": "random", "pattern": "2:4"}
    differs = {condition for stage, condition in differing(default, study) if stage == "models"}
    assert differs == {"sparse", "unlocked", "sparse_lora", "sparse_replay", "masked_writes"}
    again = study_of(topologies__sparse_2of4={**at_init, "method": "magnitude"})
    assert entities(again, "sparse")[1]["model"] == initial.name
    plain = {"method": "magnitude", "pattern": "2:4"}
    written = study_of(topologies__sparse_2of4={**plain, "at": "trained"})
    assert names(written) == names(default)


def test_a_teacher_is_the_dense_parent(default):
    """An input of its own at init alone: else it is the model that the topology is made from."""
    distillation = {"logits": 1, "temperature": 2}
    recovery = {**DEFAULT["bases"]["tiny"]["recovery"], "distillation": distillation}
    study = study_of(bases__tiny__recovery=recovery)
    found = differing(default, study)
    assert {stage for stage, _ in found} == {"topologies", "tuning", "runs", "scores"}
    assert {condition for _, condition in found} == set(study.conditions)  # the dense arms get the same loss
    for condition in ("dense", "sparse", "matched_flops"):
        made, inputs = entities(study, condition)
        assert inputs.keys() == {"model", "mixture"}
        assert made.settings["recovery"]["distillation"] == distillation
    at_init = {"method": "magnitude", "pattern": "2:4", "at": "init"}
    study = study_of(bases__tiny__recovery=recovery, topologies__sparse_2of4=at_init)
    _, inputs = entities(study, "sparse")
    assert inputs["teacher"] == study.model("dense", "1").name != inputs["model"]


def test_what_is_trained_before_the_streams_is_counted_once(default):
    """On 6 blocks and 2 for tuning: 3 shapes are pretrained; they and the sparse model recover."""
    phases = preparation(default)
    steps = [DEFAULT["bases"]["tiny"][kind]["steps"] for kind in ("pretraining", "recovery")]
    assert [sum(phase["steps"] == n for phase in phases) for n in steps] == [8 * 3, 8 * 4]
    assert not any(phase["teacher"] for phase in phases)
    at_init = {"method": "magnitude", "pattern": "2:4", "at": "init"}
    recovery = {**DEFAULT["bases"]["tiny"]["recovery"], "distillation": {"logits": 1}}
    phases = preparation(study_of(topologies__sparse_2of4=at_init, bases__tiny__recovery=recovery))
    assert [sum(phase["steps"] == n for phase in phases) for n in steps] == [8 * 4, 8 * 4]
    assert {phase["teacher"] for phase in phases if phase["steps"] == steps[1]} == {True}
    assert {phase["teacher"] for phase in phases if phase["steps"] == steps[0]} == {False}
    alone = {"study__conditions": ["sparse"], **WITHOUT_CONTRASTS}
    phases = preparation(study_of(topologies__sparse_2of4=at_init, **alone))
    assert [sum(phase["steps"] == n for phase in phases) for n in steps] == [8, 8]  # no dense base


def test_prices_name_every_condition(default):
    rows = priced(default, "people")
    assert [row["condition"] for row in rows] == default.conditions
    by_name = {row["condition"]: row for row in rows}
    assert by_name["sparse"]["pattern"] == "2:4" and by_name["dense"]["pattern"] == "dense"
    assert by_name["masked_writes"]["like"] == {"pattern": "2:4", "sparsity": None, "whole": 0}
    assert by_name["matched_flops"]["match"]["on"] == "flops"
    assert by_name["matched_flops"]["shape"] == default.shape("matched_flops")
    assert {row["steps"] for row in rows} == {DEFAULT["study"]["training"]["stop"]["steps"]}
    epochs = priced(study_of(study__training={"batch_size": 32, "stop": {"epochs": 2}}), "people")
    assert {row["steps"] for row in epochs} == {-(-2 * default.sizes("people")["train_items"] // 32)}


def test_what_methods_read_is_known_beforehand(default):
    """On 6 blocks and 2 for tuning; of the base's own mixture."""
    (row,) = prunings(default)
    assert (row["topology"], row["base"], row["models"]) == ("sparse_2of4", "tiny", 8)
    assert row["making"]["text"] is None and row["shape"] == default.shape("sparse")
    wanda = {"method": "wanda", "pattern": "2:4", "calibration": {"sequences": 8}}
    study = study_of(topologies__sparse_2of4=wanda | {"at": "trained"})
    (row,) = prunings(study)  # of sparse, and of masked_writes, which has it as `like`
    mixture = [
        registry.load("streams.sources", entry["source"]).sizes(entry, role="base")["row_tokens"]
        for entry in DEFAULT["bases"]["tiny"]["mixture"]
    ]
    text = {"sequences": 8, "tokens": max(mixture), "written": False}
    assert row["making"]["text"] == text and "at" not in row["making"]["topology"]
    making = {found["condition"]: found["making"] for found in priced(study, "people")}
    assert making["sparse"] == row["making"] and making["dense"] is making["masked_writes"] is None


def test_studies_that_cannot_be(tmp_path):
    for changes, words in (
        (
            {"streams__people": {"source": "facts", "people": 8, "tasks": 1}},
            "streams.people: found 1 task, expected at least 2: the metrics compare tasks",
        ),
        (
            {"study__tuning": {**DEFAULT["study"]["tuning"], "tasks": 7}},
            "study.tuning.tasks: found 7, expected at most the 6 tasks of stream 'people'",
        ),
        (
            {"topologies__sparse_2of4": {"method": "magnitude", "pattern": "2:5"}},
            "topologies.sparse_2of4: .*q_proj.weight",
        ),
        (
            {"topologies__sparse_2of4": {"method": "magnitude", "pattern": "half"}},
            "topologies.sparse_2of4: .*'half'",
        ),
        (
            {"topologies__sparse_2of4": {"method": "magnitude", "pattern": "unstructured"}},
            "topologies.sparse_2of4: .*sparsity",
        ),
        (
            {"bases__tiny__shape": {**DEFAULT["bases"]["tiny"]["shape"], "heads": 5}},
            "bases.tiny: shape.heads: found 5, expected a divisor of hidden_size = 48",
        ),
        ({"streams__people": {"source": "facts", "people": 5000}}, "streams.people: .*people"),
        (
            {"bases__tiny__mixture": [{"source": "facts", "people": 5000}]},
            "bases.tiny.mixture.0: .*people",
        ),
    ):
        with pytest.raises(UserError, match=words):
            study_of(**changes)


def test_a_published_base_is_one_model_for_all_blocks(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.models.load import save_model
    from sparse_continual.streams.lexicon import tokenizer

    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    save_model(LlamaForCausalLM(config), words, tmp_path / "base")
    changes = {
        "bases__tiny": {"source": "local", "path": str(tmp_path / "base")},
        "study__conditions": ["dense", "sparse"],
        **WITHOUT_CONTRASTS,
    }
    study = study_of(**changes)
    for stage, count in (("models", 1), ("topologies", 2)):
        assert len(set.union(*names(study, stage).values())) == count
    assert len(set.union(*names(study, "runs").values())) == 12
    assert len(set.union(*names(study, "streams").values())) == 8  # and two tuning blocks, in its tokens
    assert study.shape("sparse")["hidden_size"] == 16
    assert study.mixture("dense", "1") is None and "mixture" not in study.runs("people")[0].score.inputs
    assert study.stream("people", "dense", "1").inputs["tokenizer"] == study.model("dense", "1")
    assert study_of(**changes, study__seed=1).model("dense", "1").name == study.model("dense", "1").name

    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert study_of(**changes).model("dense", "1").name != study.model("dense", "1").name

    text = tmp_path / "text.txt"
    text.write_text("a b c")
    wanda = {"method": "wanda", "pattern": "2:4", "calibration": {"sequences": 4}}
    read = {"sequences": 4, "tokens": 512, "written": True}  # by the base itself
    (row,) = prunings(study_of(**changes, topologies__sparse_2of4=wanda))
    assert row["making"]["text"] == read and row["models"] == 1
    bound = "Nonzeros are upper bounds: sparse. Weights that the base lacks already stay absent, also in groups of N:M"
    assert bound in plan_text(study_of(**changes))  # the base may be pruned already
    half = {"method": "magnitude", "pattern": "unstructured", "sparsity": 0.5, "on_sparse": "refuse"}
    assert "upper bounds" not in plan_text(study_of(**changes, topologies__sparse_2of4=half))
    assert "upper bounds" not in plan_text(study_of())  # generated bases are dense
    wanda["calibration"]["files"] = [str(text)]
    (row,) = prunings(study_of(**changes, topologies__sparse_2of4=wanda))
    assert row["making"]["text"] == read | {"written": False}
    one = study_of(**changes, topologies__sparse_2of4=wanda).topology("sparse", "1").name
    text.touch()
    assert study_of(**changes, topologies__sparse_2of4=wanda).topology("sparse", "1").name == one
    text.write_text("a b d")
    assert study_of(**changes, topologies__sparse_2of4=wanda).topology("sparse", "1").name != one
    text.unlink()
    with pytest.raises(UserError, match="text.txt: no such file"):
        study_of(**changes, topologies__sparse_2of4=wanda).runs("people")


def test_measuring_renames_topologies_and_what_is_made_from_them(default):
    measured = study_of(study__measure_topologies=True)
    stages = {stage for stage, _ in differing(default, measured)}
    assert stages == {"topologies", "tuning", "runs", "scores"}
    with pytest.raises(UserError, match="figures.methods_cost: shows costs.*study.measure_topologies"):
        study_of(figures={"methods_cost": {}})
    assert study_of(figures={"methods_cost": {}}, study__measure_topologies=True)


def test_a_topology_that_is_counted_is_named_by_its_base_where_several_have_it(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    from sparse_continual.models.load import save_model
    from sparse_continual.streams.lexicon import tokenizer

    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    for name in ("one", "two"):
        save_model(LlamaForCausalLM(config), words, tmp_path / name)
    arm = {"topology": "found", "mechanism": "finetune"}
    changes = {
        "bases": {name: {"source": "local", "path": str(tmp_path / name)} for name in ("one", "two")},
        "topologies__found": {"method": "counted"},
        "conditions": {name: {"base": name, **arm} for name in ("one", "two")},
        "study__conditions": ["one", "two"],
        "study__contrasts": [
            {"name": "x", "plus": ["one"], "minus": ["two"], "estimand": "as_published"},
        ],
        "study__claims": None,
    }
    study = study_of(**changes)
    assert {name for name, _, _ in study.topologies("people")} == {"found of one", "found of two"}
    assert {study.topology_name(name) for name in study.conditions} == {"found of one", "found of two"}
    assert study.counted() == {"found of one": "one", "found of two": "two"} and study.published() == {}
    one, two = priced(study, "people")
    assert one["densities"] == f"{study.topology('one', '1').path}/densities.csv" != two["densities"]
    assert one["shape"]["hidden_size"] == 16 and not study.fetched("one") and study.downloads("one") == []
    alone = study_of(**changes | {"study__conditions": ["one"], **WITHOUT_CONTRASTS})
    assert {name for name, _, _ in alone.topologies("people")} == {"found"}
    assert alone.topology("one", "1").name == study.topology("one", "1").name


def test_every_path_of_the_config_may_begin_at_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = " ".join(f"s{i % 50}" for i in range(900))
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.txt").write_text(words)
    (tmp_path / "claims.yaml").write_text((ROOT / "claims.yaml").read_text())
    task = tmp_path / "bench" / "SC" / "toy"
    for folder in (task, task.parent / "other"):
        folder.mkdir(parents=True)
        (folder / "labels.json").write_text('["s1", "s2"]')
        for file in ("train", "test"):
            (folder / f"{file}.json").write_text(json.dumps([{"label": "s1", "sentence": f"s3 {file} s4"}]))

    def written(home):
        wanda = {
            "method": "wanda",
            "pattern": "2:4",
            "calibration": {"sequences": 4, "files": [f"{home}/three.txt"]},
        }
        sources = [
            {"source": "text", "files": [f"{home}/one.txt", f"{home}/two.txt"]},
            {"source": "cl_benchmark", "folder": f"{home}/bench", "tasks": ["toy", "other"]},
        ]
        found = []
        for source in sources:
            own = {"streams__people": source, "topologies__sparse_2of4": wanda, "study__tuning__tasks": 2}
            study = study_of(**WITHOUT_CONTRASTS, **own)
            found += [*study.stream("people", "sparse", "1").settings["files"]]
            found.append(study.topology("sparse", "1").settings["files"])
        return [list(digests.values()) for digests in found]

    assert written("~") == written(str(tmp_path))
    assert study_of(study__claims="~/claims.yaml").claims == study_of().claims
    with pytest.raises(UserError, match="streams.people: .*gone.txt: no such file"):
        study_of(
            **WITHOUT_CONTRASTS, streams__people={"source": "text", "files": ["~/gone.txt", "~/one.txt"]}
        )


@pytest.fixture
def option(monkeypatch):
    """Gives every variant and the study's training, scoring and recovery a new option with a default."""
    member = {"type": "integer", "default": 3, "description": "new"}
    schema_of, config_schema = registry.schema, schema_named("config")

    def with_option(package, name):
        schema = schema_of(package, name)
        if package == "pruning.allocations":
            return schema
        return {**schema, "properties": {**schema.get("properties", {}), "option": dict(member)}}

    study = config_schema["properties"]["study"]["properties"]
    for part in (study["training"], study["scoring"], config_schema["$defs"]["training"]):
        part["properties"]["option"] = dict(member)

    def forget():
        study_names._schema.cache_clear()
        study_names._entry_schema.cache_clear()

    with monkeypatch.context() as patch:
        patch.setattr(registry, "schema", with_option)
        for module in (config_module, study_names):
            patch.setattr(module, "schema_named", lambda name: deepcopy(config_schema))
        forget()
        yield
    forget()


def test_a_new_option_with_a_default_renames_nothing(default, option):
    before = names(default)  # digests of the fixture are known already
    added = Study(checked(deepcopy(DEFAULT)))
    assert added.config["topologies"]["sparse_2of4"]["option"] == 3 == added.study["training"]["option"]
    assert added.run("people", "sparse", "1").settings["arm"]["mechanism"]["option"] == 3
    assert names(added) == before
    for change, stages in (
        ({"topologies__sparse_2of4__option": 4}, {"topologies", "tuning", "runs", "scores"}),
        ({"study__training__option": 4}, {"tuning", "runs", "scores"}),
        ({"study__scoring__option": 4}, {"scores"}),
        ({"streams__people__option": 4}, {"streams", "tuning", "runs", "scores"}),
        ({"bases__tiny__option": 4}, {"models", "topologies", "tuning", "runs", "scores"}),
    ):
        changed = {
            stage for stage, condition in differing(default, study_of(**change)) if condition == "sparse"
        }
        assert changed == stages, change


def test_a_setting_of_rows_that_is_left_out_renames_nothing(default):
    """start_token and unlabelled have no default in the schema: names stay those from before there were such keys."""
    for stream in default.config["streams"].values():
        assert "start_token" not in stream
    other = study_of(streams__people={**DEFAULT["streams"]["people"], "start_token": "never"})
    assert {stage for stage, _ in differing(default, other)} >= {"streams", "runs"}
    assert ("models", default.conditions[0]) not in differing(default, other)
    config = deepcopy(DEFAULT)
    config["bases"]["tiny"]["mixture"][0]["start_token"] = "never"
    assert ("models", default.conditions[0]) in differing(default, Study(checked(config)))
