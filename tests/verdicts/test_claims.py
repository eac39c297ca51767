"""Claims files: every mistake in a line of its own, and the default study's file."""

from pathlib import Path

import pytest
import yaml

from sparse_continual.errors import ConfigError
from sparse_continual.schema import schema_named
from sparse_continual.study.config import checked
from sparse_continual.verdicts.claims import REFERENCES, load

ROOT = Path(__file__).resolve().parents[2]
WORDS = {"en": "Sparse forgets less.", "zh": "稀疏模型遗忘得更少。"}
STUDY = {
    "name": "trial",
    "streams": ["people"],
    "contrasts": [
        {"name": "lock", "plus": ["sparse"], "minus": ["unlocked"], "estimand": "lock"},
        {"name": "load", "plus": ["sparse"], "minus": ["dense"], "estimand": "load", "streams": ["a", "b"]},
    ],
    "references": {"single": [], "joint": [], "joint_at": "all"},
    "secondary": {"calibrated_options": False},
}
FIGURES = ["forest", "density"]


def claim(**changes):
    made = {
        "name": "less",
        "sentence": WORDS,
        "rule": "superiority",
        "role": "confirmatory",
        "figure": "forest",
    }
    made |= {"contrast": "lock", "metric": "forgetting", "direction": "less", **changes}
    return {key: value for key, value in made.items() if value is not None}


def write(path, *claims):
    path.write_text(yaml.safe_dump({"claims": list(claims)}, allow_unicode=True), encoding="utf-8")
    return path


def mistakes(path, *claims, study=STUDY):
    with pytest.raises(ConfigError) as caught:
        load(write(path / "claims.yaml", *claims), study, FIGURES)
    assert all(line.startswith(f"{path / 'claims.yaml'}: ") for line in caught.value.lines)
    return [line.removeprefix(f"{path / 'claims.yaml'}: ") for line in caught.value.lines]


def test_the_default_claims_fit_the_default_study():
    config = checked(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    claims = load(ROOT / config["study"]["claims"], config["study"], config["figures"])
    by_name = {claim["name"]: claim for claim in claims}
    contrasts = {contrast["name"]: contrast for contrast in config["study"]["contrasts"]}
    members = [by_name[name] for name in by_name["inductive_bias"]["all_of"]]
    estimands = {contrasts[member["contrast"]]["estimand"] for member in members}
    assert estimands == {"lock", "same_shape", "matched_nonzeros", "matched_flops"}
    assert {(m["metric"], m["direction"], m["stream"]) for m in members} == {("forgetting", "less", "people")}
    assert by_name["ideal_reach"]["rule"] == "untested"
    stacking = {name for name, c in contrasts.items() if c["estimand"] == "stacking"}
    assert {c["role"] for c in claims if c.get("contrast") in stacking} == {"exploratory"}
    for found in claims:
        assert found["sentence"]["en"].isascii() and not found["sentence"]["zh"].isascii()


def test_every_key_is_described():
    schema = schema_named("claims")
    keys = schema["properties"]["claims"]["items"]["properties"]
    assert all({"description", "$ref"} & set(member) for member in keys.values())


def test_the_stream_is_filled_in_where_it_goes_without_saying(tmp_path):
    path = write(tmp_path / "c.yaml", claim(), claim(name="load", contrast="load"))
    found = load(path, STUDY, FIGURES)
    assert found[0]["stream"] == "people" and "stream" not in found[1]


BARE = {"contrast": None, "metric": None, "direction": None}


@pytest.mark.parametrize(
    "changes, line",
    [
        (
            {"metric": "forgeting"},
            "less.metric: found 'forgeting', expected a name in the metrics (did you mean 'forgetting'?)",
        ),
        (
            {"figure": "forrest"},
            "less.figure: found 'forrest', expected a name in figures (did you mean 'forest'?)",
        ),
        (
            {"stream": "peple"},
            "less.stream: found 'peple', expected a name in study.streams (did you mean 'people'?)",
        ),
        ({"direction": None}, "less: missing key 'direction', which rule superiority needs; add it"),
        (
            {"rule": "equivalence", "margin": 0.1},
            "less.direction: rule equivalence does not use it; remove it",
        ),
        ({"rule": "noninferiority"}, "less: missing key 'margin', which rule noninferiority needs; add it"),
        ({"rule": "untested", **BARE}, "less: missing key 'reason', which rule untested needs; add it"),
        (
            {"role": "component"},
            "less.role: found component, named by 0 all_of claims, expected exactly one",
        ),
        (
            {"contrast": "load", "stream": "people"},
            "less.stream: contrast 'load' compares two streams, so the claim has no single stream; remove the key",
        ),
        ({"margin": 0}, "claims.0.margin: found 0, expected more than 0"),
        ({"margin": -0.03}, "claims.0.margin: found -0.03, expected more than 0"),
        ({"direction": "fewer"}, "claims.0.direction: found 'fewer', expected one of less, more"),
        ({"colour": "red"}, "claims.0: unknown key 'colour'; there are name, sentence,"),
        ({"sentence": {"en": "x"}}, "claims.0.sentence: missing key 'zh'; add it"),
    ],
)
def test_mistakes(tmp_path, changes, line):
    (found,) = mistakes(tmp_path, claim(**changes))
    assert found.startswith(line)


def test_contrasts(tmp_path):
    assert mistakes(tmp_path, claim(), claim(name="b", contrast="lok")) == [
        "b.contrast: found 'lok', expected a name in study.contrasts (did you mean 'lock'?)"
    ]
    # the file of another study, in one line
    assert mistakes(tmp_path, claim(contrast="x"), claim(name="b", contrast="y")) == [
        "found claims on contrasts x, y, but study 'trial' has no such contrasts; name the study's own file in"
        " study.claims, or null for no claims"
    ]


def test_the_only_contrast_that_is_asked_for_may_be_misspelt(tmp_path):
    assert mistakes(tmp_path, claim(contrast="lok")) == [
        "less.contrast: found 'lok', expected a name in study.contrasts (did you mean 'lock'?)"
    ]
    (line,) = mistakes(tmp_path, claim(contrast="x"))
    assert line.startswith("found claims on contrasts x, but study 'trial' has no such contrasts;")


def test_a_metric_must_be_measured(tmp_path):
    assert mistakes(tmp_path, claim(metric="savings")) == [
        "less.metric: found 'savings', which this study does not measure; set study.secondary.savings"
    ]
    half = STUDY | {"references": {"single": ["sparse"], "joint": ["sparse", "unlocked"], "joint_at": "last"}}
    assert mistakes(tmp_path, claim(metric="forward_transfer_single"), study=half) == [
        "less.metric: found 'forward_transfer_single', which needs single runs of unlocked; name them in"
        " study.references.single"
    ]
    assert mistakes(tmp_path, claim(metric="intransigence_last")) == [
        "less.metric: found 'intransigence_last', which needs joint runs of sparse, unlocked; name them in"
        " study.references.joint"
    ]
    assert mistakes(tmp_path, claim(metric="intransigence"), study=half) == [
        "less.metric: found 'intransigence', expected intransigence_last, or study.references.joint_at: all"
    ]
    measured = half | {"secondary": {"savings": {"steps": 4}}}
    for metric in ("savings", "intransigence_last", "base_retention", "forward_transfer"):
        assert load(write(tmp_path / "c.yaml", claim(metric=metric)), measured, FIGURES)
    assert REFERENCES == {
        "forward_transfer_single": "single",
        "intransigence": "joint",
        "intransigence_last": "joint",
    }


def test_a_ratio_that_may_be_undefined_carries_no_confirmatory_claim(tmp_path):
    for metric in ("fraction_lost", "retention_area"):
        (line,) = mistakes(tmp_path, claim(metric=metric))
        assert line.startswith(
            f"less.metric: found '{metric}' in a confirmatory claim, expected a metric that every"
        )
        assert load(write(tmp_path / "c.yaml", claim(metric=metric, role="exploratory")), STUDY, FIGURES)
    assert any(
        "in a component claim" in line for line in mistakes(tmp_path, claim(metric=metric, role="component"))
    )


def test_names_are_used_once(tmp_path):
    assert mistakes(tmp_path, claim(), claim()) == [
        "less: the name is used 2 times; give each claim its own name"
    ]


def test_members(tmp_path):
    both = {"name": "all", "sentence": WORDS, "rule": "all_of", "role": "confirmatory", "figure": "forest"}
    assert mistakes(
        tmp_path, claim(), claim(name="b", role="component"), both | {"all_of": ["less", "c"]}
    ) == [
        "b.role: found component, named by 0 all_of claims, expected exactly one",
        "all.all_of: 'less' has role confirmatory, expected component; a member is tested only through this claim",
        "all.all_of: found 'c', expected the name of a claim",
    ]


def test_several_streams_must_be_named(tmp_path):
    study = STUDY | {"streams": ["people", "rules"]}
    assert mistakes(tmp_path, claim(), study=study) == [
        "less: missing key 'stream'; the study has several, so name one of people, rules"
    ]


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="study.claims: .*none.yaml: no such file"):
        load(tmp_path / "none.yaml", STUDY, FIGURES)
    for text in ("claims: [", "\t"):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError, match="c.yaml: not valid YAML") as caught:
            load(tmp_path / "c.yaml", STUDY, FIGURES)
        assert "\n" not in str(caught.value)
    (tmp_path / "c.yaml").write_text("- a")
    with pytest.raises(ConfigError, match=r"c.yaml: top level: found \['a'\], expected object"):
        load(tmp_path / "c.yaml", STUDY, FIGURES)


@pytest.mark.parametrize("role", ["confirmatory", "component"])
def test_checkpoints_as_published_are_described_and_never_tested(tmp_path, role):
    contrasts = [{"name": "lock", "plus": ["sparse"], "minus": ["dense"], "estimand": "as_published"}]
    study = {**STUDY, "contrasts": contrasts}
    line = mistakes(tmp_path, claim(role=role), study=study)[-1]
    assert line.startswith(f"less.role: found {role!r} on contrast 'lock', whose estimand is as_published")
    load(write(tmp_path / "claims.yaml", claim(role="exploratory")), study, FIGURES)
