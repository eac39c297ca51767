"""A registration binds: made once, seen when edited, and held against what was run. A worked example."""

import json
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path

import pandas
import pytest
import yaml

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.identity import canonical, sha256
from sparse_continual.integrity import write_manifest
from sparse_continual.statistics.metrics import PRIMARY
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study
from sparse_continual.verdicts import deviations, registration

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
CONTRASTS = [
    {"name": "lock", "plus": ["sparse"], "minus": ["unlocked"], "estimand": "lock"},
    {"name": "same_shape", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"},
]


def claim(name, contrast, **changes):
    words = {"en": f"{name} forgets less.", "zh": f"{name} 遗忘得更少。"}
    made = {
        "name": name,
        "sentence": words,
        "rule": "superiority",
        "role": "confirmatory",
        "contrast": contrast,
    }
    return (
        made
        | {"metric": "forgetting", "direction": "less", "figure": "density", "stream": "people"}
        | changes
    )


CLAIMS = [claim("first", "lock", margin=0.03), claim("second", "same_shape")]


def study(**changes):
    """A small confirmatory study; keyword arguments replace keys of its `study` section."""
    config = deepcopy(DEFAULT)
    own = {
        "name": "trial",
        "phase": "confirmatory",
        "blocks": 8,
        "conditions": ["dense", "sparse", "unlocked"],
    }
    config["study"] |= {**own, "contrasts": CONTRASTS, "claims": None, **changes}
    return Study(checked(config))


@pytest.fixture
def registered(tmp_path):
    path = tmp_path / "studies" / "trial.preregistration.yaml"
    return path, registration.register(study(), CLAIMS, ROOT, path)


def current(of=None, claims=CLAIMS, root=ROOT):
    of = of or study()
    return {
        "study": of.name,
        "design": registration.design(of, claims),
        "analysis": registration.analysis(root),
    }


def ran(of=None):
    """What the tables of a study say that was run as planned."""
    of = of or study()
    return {s: {c: {b: of.order(s, b) for b in of.blocks} for c in of.conditions} for s in of.streams}


def times(of=None, hours=1, made=None):
    """Finish times of all runs, hours after now."""
    of = of or study()
    time = (datetime.fromisoformat(made["registered"]) + timedelta(hours=hours)).isoformat()
    return {(s, c, b): time for s in of.streams for c in of.conditions for b in of.blocks}


def found(made, of=None, claims=CLAIMS, tabled=None, finished=None):
    """Deviations as (kind, what), without those that are expected between any two machines."""
    rows = deviations.deviations(
        made, current(of, claims), tabled or ran(of), finished or times(of, made=made)
    )
    return [(row["kind"], row["what"]) for row in rows]


def test_it_holds_the_whole_design(registered):
    path, made = registered
    frozen = registration.read(path)["design"]
    assert registration.read(path) == made
    assert frozen["blocks"] == [str(b) for b in range(1, 9)]
    assert frozen["orders"]["people"]["3"] == study().order("people", "3")
    assert frozen["claims"] == canonical(CLAIMS) and frozen["contrasts"] == canonical(CONTRASTS)
    assert frozen["conditions"]["sparse"]["topology settings"] == {"method": "magnitude", "pattern": "2:4"}
    assert (
        frozen["statistics"]["level"] == 0.05
        and frozen["training"]["stop"] == DEFAULT["study"]["training"]["stop"]
    )
    assert frozen["primary_metrics"] == list(PRIMARY)
    assert frozen["tuning"]["rule"] and frozen["exclusion"]
    assert set(made["analysis"]["versions"]) >= {"numpy", "scipy", "torch"}
    assert [(row["contrast"], row["n"], row["tests"]) for row in made["power"]] == [
        ("lock", 8, 2),
        ("same_shape", 8, 2),
    ]
    words = registration.in_words(made)
    assert words[0].startswith("n = 8 blocks; 2 separate confirmatory claims")
    # 8 blocks, level .05 / 2: 1.34 SD (specification, by Monte Carlo), and the planned SD is 4 points
    assert "lock, forgetting, planning SD 4.0 points: detects 5.4 points with power .8" in words[1]
    assert words[-1] == "The sign-flip test enumerates all 256 signs."


def test_it_is_never_overwritten_and_edits_are_seen(registered):
    path, made = registered
    before = path.read_bytes()
    with pytest.raises(UserError, match="exists already; a registration is never overwritten"):
        registration.register(study(), CLAIMS, ROOT, path)
    assert path.read_bytes() == before
    path.write_text(before.decode().replace("margin: 0.03", "margin: 0.06"), encoding="utf-8")
    with pytest.raises(UserError, match="found content with SHA-256 .* expected .*edited by hand"):
        registration.read(path)
    # another layout of the same content is no edit
    path.write_text(yaml.safe_dump(made, width=60, sort_keys=True), encoding="utf-8")
    assert registration.read(path) == made
    path.write_text(before.decode().replace("form: 1", "form: 2"), encoding="utf-8")
    with pytest.raises(UserError, match="preregistration.yaml: form: found 2"):
        registration.read(path)
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        registration.read(path)
    assert sha256({k: v for k, v in made.items() if k != "sha256"}) == made["sha256"]


def test_what_is_not_registered(tmp_path):
    path = tmp_path / "r.yaml"
    with pytest.raises(UserError, match="study.phase: found demonstration, expected confirmatory"):
        registration.register(study(phase="demonstration"), CLAIMS, ROOT, path)
    with pytest.raises(UserError, match="study.phase: found pilot"):
        registration.register(study(phase="pilot"), CLAIMS, ROOT, path)
    none = [claim("first", "lock", role="exploratory")]
    with pytest.raises(UserError, match="no confirmatory claim"):
        registration.register(study(), none, ROOT, path)
    with pytest.raises(UserError, match="study.blocks: found 1, expected at least 2, and 6 for"):
        registration.register(study(blocks=1), CLAIMS, ROOT, path)
    assert not path.exists()


def test_few_blocks_are_warned_of(tmp_path):
    made = registration.register(study(blocks=2), CLAIMS[:1], ROOT, tmp_path / "r.yaml")
    words = registration.in_words(made)
    assert words[0].startswith("n = 2 blocks; 1 separate confirmatory claim, tested at level 0.05")
    assert words[1].startswith("Warning: below 6 blocks every claim is described only")
    six = study(blocks=6, statistics={"level": 0.01, "learning_margin": 0.05})
    made = registration.register(six, CLAIMS, ROOT, tmp_path / "s.yaml")
    assert registration.in_words(made)[1].startswith("Warning: at this n the sign-flip test cannot")
    assert "Warning" not in "".join(
        registration.in_words(registration.register(study(), CLAIMS, ROOT, tmp_path / "t.yaml"))
    )


def test_lines_of_several_streams_name_theirs(tmp_path):
    made = registration.register(study(), CLAIMS, ROOT, tmp_path / "r.yaml")
    rows = made["power"] + [{**row, "stream": "news"} for row in made["power"]]
    told = registration.in_words({"design": made["design"], "power": rows})[1:]
    assert {line.split(": ")[0] for line in told if ", forgetting" in line} == {"people", "news"}
    assert not any(line.startswith("people: ") for line in registration.in_words(made))


def test_a_plan_of_one_block_is_reported_without_a_number_that_is_none():
    of = study(blocks=1)
    plan = {"claims": CLAIMS, "contrasts": of.contrasts, "statistics": of.study["statistics"]}
    plan |= {"bases": of.bases(), "pilot": []}
    words = registration.in_words({"design": plan, "power": registration.power_rows(plan)})
    assert words[0].startswith("n = 1 block; 2 separate") and len(words) == 2 and "nan" not in " ".join(words)
    assert registration.in_words({"design": plan, "power": []}) == ["n = 1 block; no difference is tested"]


def test_a_place_that_cannot_be_written_to_is_reported(tmp_path):
    (tmp_path / "studies").write_text("a file")
    with pytest.raises(
        UserError, match="studies: not a folder that can be written to .File exists."
    ) as caught:
        registration.register(study(), CLAIMS, ROOT, tmp_path / "studies" / "r.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="r.yaml: cannot be written .File name too long."):
        registration.register(study(), CLAIMS, ROOT, tmp_path / ("r" * 300 + "r.yaml"))


def test_what_cannot_be_reported_does_not_take_the_name(tmp_path, monkeypatch):
    def broken(_):
        raise RuntimeError

    monkeypatch.setattr(registration, "in_words", broken)
    with pytest.raises(RuntimeError):
        registration.register(study(), CLAIMS, ROOT, tmp_path / "r.yaml")
    assert not list(tmp_path.iterdir())


def test_a_study_run_as_registered_deviates_in_nothing(registered):
    assert found(registered[1]) == []


def test_planned_against_run(registered):
    made = registered[1]
    # fewer blocks than planned: another n, so every claim is exploratory
    rows = found(made, study(blocks=7))
    assert ("block", "8, stream people") in rows
    assert rows[-2:] == [(deviations.EXPLORATORY, "first"), (deviations.EXPLORATORY, "second")]
    assert ("block", "9, stream people") in found(made, study(blocks=9))
    # a condition left out, one added
    fewer = study(conditions=["sparse", "unlocked"], contrasts=CONTRASTS[:1])
    rows = found(made, fewer, claims=CLAIMS[:1])
    assert {("condition", "dense"), ("contrast", "same_shape"), ("claim", "second")} <= set(rows)
    assert (deviations.EXPLORATORY, "first") in rows  # it was to be adjusted for two claims
    more = study(conditions=["dense", "sparse", "unlocked", "masked_writes"])
    assert found(made, more) == [("condition", "masked_writes")]
    # the rules
    rows = found(made, study(statistics={"level": 0.1, "learning_margin": 0.05}))
    assert rows[0] == ("statistics", "level") and len(rows) == 3
    rows = found(made, study(training={"batch_size": 32, "stop": {"steps": 32}}))
    assert ("training", "stop.steps") in rows and (deviations.EXPLORATORY, "second") in rows
    # a claim, in its margin and in its picture
    rows = found(made, claims=[claim("first", "lock", margin=0.05), CLAIMS[1]])
    assert rows == [("claim", "first"), (deviations.EXPLORATORY, "first")]
    assert found(made, claims=[CLAIMS[0] | {"figure": "forest"}, CLAIMS[1]]) == [("claim", "first")]
    rows = found(made, claims=[*CLAIMS, claim("third", "lock", direction="more")])
    assert rows == [("claim", "third"), (deviations.EXPLORATORY, "third")]
    # an order, in one condition only
    tabled = ran()
    tabled["people"]["sparse"]["2"] = tabled["people"]["sparse"]["2"][::-1]
    row, *stale = deviations.deviations(made, current(), tabled, times(made=made))
    assert (row["kind"], row["what"]) == ("order", "2, stream people") and row["run"].endswith("in sparse")
    assert exploratory(stale) == {"first", "second"}
    # the code of the analysis
    now = current()
    now["analysis"]["code"] = "0" * 16
    row, *stale = deviations.deviations(made, now, ran(), times(made=made))
    assert row["kind"] == "code" and exploratory(stale) == {"first", "second"}
    assert {row["run"] for row in stale} == {"judged by other code than registered"}
    # the scoring
    row, *stale = deviations.deviations(
        made, current(study(scoring={"batch_size": 64})), ran(), times(made=made)
    )
    assert row["kind"] == "condition" or row["kind"] == "scoring"
    assert exploratory(stale) == {"first", "second"}
    # another library is listed, and binds nothing
    now = current()
    now["analysis"]["versions"]["numpy"] = "0"
    assert [row["kind"] for row in deviations.deviations(made, now, ran(), times(made=made))] == ["version"]


def exploratory(rows):
    return {row["what"] for row in rows if row["kind"] == deviations.EXPLORATORY}


def test_what_is_run_beside_the_cells_binds_the_claims_that_rest_on_it(tmp_path):
    claims = [
        CLAIMS[0],
        claim("slower", "lock", metric="intransigence"),
        claim("left", "lock", metric="savings"),
    ]
    asked = {"joint": ["sparse", "unlocked"], "single": [], "joint_at": "all"}
    made = registration.register(
        study(references=asked, secondary={"savings": {"steps": 4}}), claims, ROOT, tmp_path / "r.yaml"
    )
    assert made["design"]["references"] == asked and made["design"]["secondary"]["savings"] == {"steps": 4}
    assert made["design"]["repeat"] == {"conditions": []}

    def seen(**changes):
        of = study(**{"references": asked, "secondary": {"savings": {"steps": 4}}} | changes)
        return found(made, of, claims)

    assert seen() == []
    assert seen(references=asked | {"joint_at": "last"}) == [
        ("references", "joint_at"),
        (deviations.EXPLORATORY, "slower"),
    ]
    assert seen(secondary={"savings": {"steps": 8}}) == [
        ("secondary", "savings.steps"),
        (deviations.EXPLORATORY, "left"),
    ]
    assert seen(repeat={"conditions": ["dense"]}) == [("repeat", "conditions")]


def test_the_oldest_run_of_a_cell_counts(tmp_path):
    cell, runs = ("people", "sparse", "1"), []
    for number, time in enumerate(("2026-01-03T00:00:00+00:00", "2026-01-02T01:00:00+02:00", None)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"finished": time} if time else {}))
        runs.append([*cell, path])
    assert deviations.finish_times(runs[:1]) == {cell: "2026-01-03T00:00:00+00:00"}
    assert deviations.finish_times(runs[:2]) == {cell: "2026-01-02T01:00:00+02:00"}
    assert deviations.finish_times(runs) == {cell: None}


def test_runs_older_than_the_registration_make_their_claims_exploratory(registered):
    made = registered[1]
    finished = times(made=made) | {("people", "unlocked", "4"): made["registered"]}
    assert found(made, finished=finished) == [
        ("older run", "unlocked, stream people"),
        (deviations.EXPLORATORY, "first"),
    ]
    finished = times(made=made) | {("people", "sparse", "4"): None}
    assert (deviations.EXPLORATORY, "second") in found(made, finished=finished)


def test_a_joint_claim_rests_on_its_members():
    both = {
        "name": "both",
        "rule": "all_of",
        "role": "confirmatory",
        "all_of": ["first", "second"],
        "figure": "density",
    }
    both["sentence"] = CLAIMS[0]["sentence"]
    members = [member | {"role": "component"} for member in CLAIMS]
    design = registration.design(study(), [*members, both])
    made = {
        "registered": "2026-01-01T00:00:00+00:00",
        "design": design,
        "analysis": registration.analysis(ROOT),
    }
    finished = times(made=made) | {("people", "dense", "1"): "2025-12-31T23:59:59+00:00"}
    assert found(made, claims=[*members, both], finished=finished)[1:] == [
        (deviations.EXPLORATORY, "second"),
        (deviations.EXPLORATORY, "both"),
    ]


def write_run(folder, of, made, hours=1):
    """Tables and run.json files of a study, as its workflow leaves them."""
    rows = [
        (condition, block, 0, task, position, "all", 0.5, 1.0, 8, 0.0, 1.0)
        for condition in of.conditions
        for block in of.blocks
        for position, task in enumerate(of.order("people", block), 1)
    ]
    columns = "condition block after task position part score loss items chance ceiling".split()
    folder.mkdir()
    tables.write(folder / "scores.csv", pandas.DataFrame(rows, columns=columns))
    runs = []
    for cell, time in times(of, hours, made).items():
        path = folder / f"{'-'.join(cell)}.json"
        path.write_text(json.dumps({"finished": time}))
        runs.append([*cell, path])
    return {"scores": {"people": folder / "scores.csv"}, "runs": runs}


def test_a_worked_example(registered, tmp_path):
    """Registered, run, and listed; then once more with what was run before the registration."""
    path, made = registered
    output = tmp_path / "deviations.csv"
    given = write_run(tmp_path / "after", study(), made)
    deviations.list_deviations(path, path, current(), given, output)
    assert output.read_text() == "kind,what,planned,run\n"
    given = write_run(tmp_path / "before", study(), made, hours=-1)
    deviations.list_deviations(path, path, current(), given, output)
    listed = tables.read(output)
    assert list(listed.kind) == ["older run"] * 3 + [deviations.EXPLORATORY] * 2
    assert listed.run[0] == "8 blocks before it, or without a time"
    deviations.list_deviations(path, None, current(), given, output)
    assert list(tables.read(output).kind) == ["registration"]
    demonstration = current(study(phase="demonstration"))
    deviations.list_deviations(path, None, demonstration, given, output)
    assert tables.read(output).empty
    with pytest.raises(UserError, match="found study 'trial', expected 'other'"):
        deviations.list_deviations(path, path, current() | {"study": "other"}, given, output)


def pilot(folder, block="pilot-{}"):
    rows = [
        (name, "other", "forgetting", "raw", block.format(b), str(b), 0.01 * b)
        for name in ("lock", "gone")
        for b in (1, 2, 3)
    ]
    columns = "contrast estimand metric scale block base difference".split()
    path = folder / "people" / "statistics" / "differences.csv"
    tables.write(path, pandas.DataFrame(rows, columns=columns))
    write_manifest(folder / "people" / "manifests" / "estimate.json", files=[path])
    return folder


def test_a_pilot_that_was_changed_is_refused(tmp_path):
    folder = pilot(tmp_path / "pilot")
    path = folder / "people" / "statistics" / "differences.csv"
    path.write_text(path.read_text().replace("0.02", "0.03"))
    with pytest.raises(
        UserError, match="differences.csv: its bytes differ from those that .*estimate.json records"
    ):
        registration.register(study(), CLAIMS, ROOT, tmp_path / "r.yaml", folder)


def test_a_pilot_fixes_the_sd_and_nothing_else(tmp_path):
    path = tmp_path / "r.yaml"
    made = registration.register(study(), CLAIMS, ROOT, path, pilot(tmp_path / "pilot"))
    assert made["pilot"] == [
        {"stream": "people", "contrast": "lock", "metric": "forgetting", "n": 3, "sd": pytest.approx(0.01)}
    ]
    assert [row["source"] for row in made["power"]] == ["planning", "pilot", "planning"]
    line = registration.in_words(made)[2]
    # an SD of 1 point from 3 blocks: up to 1 * sqrt(2 / .446) = 2.1 points (chi-square table, 2 df, .2)
    assert line.startswith(
        "lock, forgetting, pilot SD 1.0 points: detects 1.3 points with power .8 (2.8 at 2.1, the"
    )
    assert "the upper 80 % confidence limit of an SD from 3 blocks); 5 points need" in line
    with pytest.raises(
        UserError, match="nope/people/statistics/differences.csv: no such file; expected the results folder"
    ):
        registration.pilot_sds("/nope", made["design"])
    assert registration.pilot_of(path) == made["pilot"]
    assert registration.pilot_of(tmp_path / "none.yaml") == []
    with pytest.raises(UserError, match="found block '1', expected blocks of a pilot"):
        registration.pilot_sds(pilot(tmp_path / "own", "{}"), made["design"])
    of = study(phase="pilot")
    now = current(of)
    now["design"]["phase"] = "confirmatory"
    with pytest.raises(UserError, match="study.phase: found confirmatory with block pilot-1"):
        deviations.list_deviations(path, None, now, {}, tmp_path / "d.csv")


def test_the_default_study_can_be_registered(tmp_path):
    default = {key: DEFAULT["study"][key] for key in ("conditions", "contrasts", "claims")}
    of = study(**default)
    made = registration.register(of, of.claims, ROOT, tmp_path / "r.yaml")
    assert {row["tests"] for row in made["power"]} == {6}
    assert any(row["sd"] == pytest.approx(0.04 * 2**0.5) for row in made["power"])  # interactions
