"""The claims of whole studies: from the tables of their streams to claims.csv, power.csv and loads.csv."""

import numpy as np
import pandas
import pytest
from made_claims import all_of, claim, contrast

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.statistics import power
from sparse_continual.verdicts import findings
from sparse_continual.verdicts.findings import judge_study

WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.005, -0.005, 0.012, -0.012, 0.003, -0.003])
BLOCKS = [str(b) for b in range(1, 11)]
CONTRASTS = [
    contrast("lock", ["sparse"], ["unlocked"], "lock"),
    contrast("level", ["sparse"], [], "level"),
    contrast("load", ["sparse"], ["dense"], "load", streams=["heavy", "light"]),
]
CLAIMS = [
    claim("less", "lock", stream="heavy", margin=0.03),
    claim("still", "level", stream="heavy", direction="more"),
    claim("load", "load", stream=None),
    {"name": "ideal", "rule": "untested", "role": "confirmatory", "figure": "density"},
]
MEANS = {
    "lock": {"heavy": -0.1, "light": 0},
    "level": {"heavy": 0.3, "light": 0.2},
    "load": {"heavy": -0.2, "light": 0},
}


def differences(stream, blocks=BLOCKS, contrasts=CONTRASTS):
    rows = []
    for made in contrasts:
        for metric in ("forgetting", "forward_transfer", "learning_accuracy"):
            mean = MEANS[made["name"]][stream] if metric == "forgetting" else 0
            turned = WOBBLE[::-1] if stream == "light" else WOBBLE
            for scale, factor in (("raw", 1), ("corrected", 2)):
                rows += [
                    (
                        made["name"],
                        made["estimand"],
                        metric,
                        scale,
                        b,
                        b,
                        factor * (mean + turned[int(b) - 1]),
                    )
                    for b in blocks
                ]
    return pandas.DataFrame(rows, columns="contrast estimand metric scale block base difference".split())


def study(folder, light=BLOCKS, flags=(), deviations=(), passed=True, **changes):
    """Write the tables of a study of two streams. Returns what judge_study takes."""
    streams = {}
    for stream, blocks in (("heavy", BLOCKS), ("light", light)):
        frames = {
            "differences": differences(stream, blocks),
            "flags": tables.every()["flags"].frame(flags),
            "instrument": pandas.DataFrame(
                [("planted arm", "dense", passed, "shown", "not shown", "" if passed else "it learns less")],
                columns="check arm passed value expected why".split(),
            ),
        }
        streams[stream] = {name: folder / stream / f"{name}.csv" for name in frames}
        for name, frame in frames.items():
            tables.write(streams[stream][name], frame)
    tables.write(
        folder / "deviations.csv", pandas.DataFrame(deviations, columns="kind what planned run".split())
    )
    budget = [(s, c, 1000 * (1 + (c == "dense"))) for s in streams for c in ("sparse", "dense", "unlocked")]
    tables.write(folder / "budget.csv", pandas.DataFrame(budget, columns=["stream", "condition", "nonzeros"]))
    statistics = {"level": 0.05, "learning_margin": 0.05, "planning_sd": 0.04, "effect": 0.05}
    plan = {"claims": CLAIMS, "contrasts": CONTRASTS, "statistics": statistics, "phase": "demonstration"}
    plan |= {"bases": {b: b for b in BLOCKS}, "bits": {"heavy": 4000, "light": None}, "pilot": []}
    outputs = {name: folder / f"{name}.csv" for name in ("claims", "power", "loads")}
    return streams, folder / "deviations.csv", folder / "budget.csv", plan | changes, outputs


def judged(folder, **changes):
    """The three tables of a study, by name; claims by claim."""
    given = study(folder, **changes)
    judge_study(*given)
    found = {name: tables.read(path) for name, path in given[-1].items()}
    return found | {"claims": found["claims"].set_index("claim", drop=False)}


def test_every_claim_has_a_row(tmp_path):
    claims = judged(tmp_path)["claims"]
    assert list(claims.claim) == ["less", "still", "load", "ideal"]
    assert list(claims.verdict) == ["shown", "shown", "shown", "not tested"]
    assert set(claims.tests.dropna()) == {3}
    row = claims.loc["less"]
    assert row.detectable == pytest.approx(power.detectable(10, row.sd, 0.05 / 3))
    both = power.tost_power(10, row.sd, 0.03, 0.05 / 3) * power.tost_power(
        10, row.learning_sd, 0.05, 0.05 / 3
    )
    assert row.tost_power == pytest.approx(both)
    assert np.isnan(claims.loc["still"].tost_power) and claims.loc["ideal"].estimand == ""
    assert claims.loc["less"].bases == "one per block" and claims.loc["still"].gate_side == ""


def test_a_load_contrast_takes_the_difference_between_streams(tmp_path):
    row = judged(tmp_path)["claims"].loc["load"]
    d = -0.2 + WOBBLE - WOBBLE[::-1]
    assert (
        row.stream == "heavy - light"
        and row["mean"] == pytest.approx(-0.2)
        and row.sd == pytest.approx(d.std(ddof=1))
    )


def test_streams_with_other_blocks_are_named(tmp_path):
    with pytest.raises(UserError, match="load: only one of the streams heavy and light has block 10;"):
        judged(tmp_path, light=BLOCKS[:9])


def test_a_failed_instrument_check_stops_before_any_verdict(tmp_path):
    with pytest.raises(
        UserError,
        match="stream heavy: instrument check 'planted arm' of dense: found shown, expected not shown: it",
    ):
        judged(tmp_path, passed=False)
    assert not (tmp_path / "claims.csv").exists()


def test_pilot_blocks_are_refused(tmp_path):
    bases = {f"pilot-{b}": b for b in BLOCKS}
    with pytest.raises(UserError, match="study.phase: found confirmatory with block pilot-1"):
        judged(tmp_path, bases=bases, phase="confirmatory")


def test_a_confirmatory_study_needs_its_registration_and_fresh_runs(tmp_path):
    missing = [("registration", "studies/x.preregistration.yaml", "a registration", "none")]
    claims = judged(tmp_path / "a", phase="confirmatory", deviations=missing)["claims"]
    assert list(claims.verdict) == ["exploratory"] * 3 + ["not tested"]
    stale = [
        ("older run", "unlocked, stream heavy", "", ""),
        ("claim exploratory", "less", "as registered", "old"),
    ]
    claims = judged(tmp_path / "b", phase="confirmatory", deviations=stale)["claims"]
    assert list(claims.verdict) == ["exploratory", "shown", "shown", "not tested"]
    assert np.isnan(claims.loc["less"].holm_p) and claims.loc["still"].tests == 3


def test_a_collapse_calls_for_the_bootstrap_in_its_contrasts_alone(tmp_path):
    flags = [
        ("collapse", "unlocked", "3", 0, "", "all", 0.5),
        ("not learnt", "sparse", "3", 1, "t", "all", 0.0),
    ]
    claims = judged(tmp_path, flags=flags)["claims"]
    assert list(claims.bootstrap_lower.notna()) == [True, False, False, False]


def test_power_is_of_the_plan_the_pilot_and_the_study(tmp_path):
    pilot = [{"stream": "heavy", "contrast": "lock", "metric": "forgetting", "n": 3, "sd": 0.02}]
    found = judged(tmp_path, pilot=pilot)["power"]
    assert list(found.columns) == tables.every()["power"].names
    assert list(found.source) == "planning pilot observed planning observed planning observed".split()
    planned = found[found.source == "planning"]
    assert list(planned.sd) == pytest.approx(
        [0.04, 0.04, 0.04 * 2**0.5]
    )  # a load is a difference of differences
    for row in found.itertuples():
        assert row.detectable == pytest.approx(power.detectable(10, row.sd, 0.05 / 3))
    assert list(found.margin.notna()) == [True, True, True, False, False, False, False]
    assert set(found.exact_reaches) == {"true"}
    gate = dict(zip(zip(found.source, found.contrast, strict=True), found.gate_power, strict=True))
    assert gate["planning", "lock"] == pytest.approx(power.gate_power(10, 0.04, 0.05, 0.05 / 3))
    assert gate["observed", "lock"] == pytest.approx(power.gate_power(10, WOBBLE.std(ddof=1), 0.05, 0.05 / 3))
    assert np.isnan(gate["planning", "level"])  # a level has no gate


def test_loads_are_bits_per_nonzero_weight_of_the_plus_side(tmp_path):
    found = judged(tmp_path)["loads"]
    assert list(found.columns) == tables.every()["loads"].names
    assert len(found) == 2 * len(CONTRASTS) * 2 and set(found.metric) == {"forgetting", "forward_transfer"}
    assert set(found.bits_per_nonzero[found.stream == "heavy"]) == {4.0}
    assert found.bits_per_nonzero[found.stream == "light"].isna().all()


def test_the_unit_is_the_base_where_it_is_shared(tmp_path):
    bases = {b: str((int(b) - 1) // 2) for b in BLOCKS}
    found = judged(tmp_path, bases=bases)
    assert set(found["claims"].unit) == {"base", ""} and found["claims"].loc["less"].n == 5
    assert set(found["claims"].verdict) == {"descriptive", "not tested"}
    assert set(found["power"].n) == {5} and findings.planned_n(bases) == 5
    assert findings.planned_n(dict.fromkeys(BLOCKS, "published")) == 10


def test_equal_studies_give_equal_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        judged(
            tmp_path / name,
            claims=[
                *CLAIMS,
                claim("m", "lock", stream="light", role="component"),
                claim("n", "lock", stream="heavy", role="component"),
                all_of("both", "m", "n"),
            ],
        )
    for name in ("claims", "power", "loads"):
        text = (tmp_path / "a" / f"{name}.csv").read_bytes()
        assert text == (tmp_path / "b" / f"{name}.csv").read_bytes() and b"nan" not in text.lower()


def test_a_study_without_claims_has_empty_tables(tmp_path):
    found = judged(tmp_path, claims=[])
    assert found["claims"].empty and found["power"].empty and len(found["loads"]) == 12
