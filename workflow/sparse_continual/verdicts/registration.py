"""Registrations: the design of a confirmatory study, frozen before its runs.

A registration is one YAML file. It is written once, before the study is run, and committed. It is not the output of a
rule and is never overwritten. It contains the SHA-256 of its own content, so that an edit by hand is detected.
`deviations` compares it with the run.

The date and the hash detect slips, not fraud: an editor of the file can compute another hash and set the clock back.
The proof that the registration came first is the commit that holds it, pushed to a public place before the first run.

After Hofman et al., Pre-registration for Predictive Modeling (arXiv 2311.18807), and Nosek et al., PNAS 115 (2018)
2600.
"""

import math
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml

from sparse_continual import code, integrity, tables
from sparse_continual.errors import UserError
from sparse_continual.identity import canonical, sha256
from sparse_continual.schema import check_schema, schema_named
from sparse_continual.statistics import metrics, power
from sparse_continual.statistics.contrasts import shared
from sparse_continual.statistics.gate import LEARNING
from sparse_continual.statistics.paired import DRAWS, ENUMERATED
from sparse_continual.streams.orders import PILOT
from sparse_continual.verdicts.findings import planned_n, power_rows, refuse_pilot
from sparse_continual.verdicts.judge import counted
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS
from sparse_continual.yaml_text import read_yaml

ANALYSIS = (  # scripts of the stages that analyse
    "statistics/collect_tables",
    "statistics/estimate",
    "verdicts/check_instrument",
    "verdicts/judge_claims",
)
LIBRARIES = ("numpy", "pandas", "scipy", "statsmodels", "torch", "transformers")
EXCLUSION = (
    "Nothing is left out: no block, task, run or score, collapses included. Tuning and pilot blocks enter no"
    " statistic. A metric that is not defined in a block is left out there alone, and counted."
)
TUNING = (
    "every condition has the same rates and tuning blocks, on validation splits; the smallest rate within one"
    " standard error of the best learning is taken"
)


def path_of(study_name: str) -> Path:
    """Place of a study's registration, relative to the working directory."""
    return Path("studies") / f"{study_name}.preregistration.yaml"


def design(study, claims: list[dict]) -> dict:
    """Everything about a study (study.Study) that is fixed before its runs, as plain data.

    claims: as `claims.load` returns them.
    """
    config, study_section = study.config, study.study
    conditions = {}
    for name in study.conditions:
        parts = {key: config[section][study.condition(name)[key]] for section, key in _SECTIONS}
        conditions[name] = {
            **study.condition(name),
            **{f"{key} settings": part for key, part in parts.items()},
        }
    content = {
        "seed": study.seed,
        "phase": study_section["phase"],
        "streams": {name: config["streams"][name] for name in study.streams},
        "conditions": conditions,
        "blocks": study.blocks,
        "bases": study.bases(),
        "orders": {s: {b: study.order(s, b) for b in study.blocks} for s in study.streams},
        "contrasts": study.contrasts,
        "claims": claims,
        "primary_metrics": list(metrics.PRIMARY),
        "statistics": study_section["statistics"],
        "training": study_section["training"],
        "tuning": {**study_section["tuning"], "rule": TUNING},
        "scoring": study_section["scoring"],
        "references": study_section["references"],
        "repeat": study_section["repeat"],
        "secondary": study_section["secondary"],
        "exclusion": EXCLUSION,
    }
    runs = {
        stream: {
            name: sha256([study.score(stream, name, block).digest for block in study.blocks])[:16]
            for name in study.conditions
        }
        for stream in study.streams
    }
    return canonical(content | {"runs": runs, "config": sha256(content)})


_SECTIONS = (("bases", "base"), ("topologies", "topology"), ("mechanisms", "mechanism"))


def analysis(root) -> dict:
    """{code, versions} of the stages statistics and verdicts; root: the folder that the Snakefile lies in."""
    scripts = [str(Path(root) / "scripts" / f"{name}.py") for name in ANALYSIS]
    return {"code": code.digest(*scripts), "versions": {name: version(name) for name in LIBRARIES}}


def register(study, claims: list[dict], root, path, pilot=None) -> dict:
    """Write the registration of a confirmatory study to `path`, which must not exist. Returns it.

    root: the folder of the Snakefile; pilot: results folder of a pilot study whose SDs are used for the power of this
    one, or None.

    Raises UserError for a study that is not confirmatory or has no confirmatory claim, for fewer than two units, for a
    pilot's blocks, and for an existing registration.
    """
    if study.study["phase"] != "confirmatory":
        raise UserError(
            f"study.phase: found {study.study['phase']}, expected confirmatory; only such a study is registered"
        )
    if not any(map(counted, claims)):
        raise UserError(
            "study.claims: found no confirmatory claim, expected at least one; there is nothing to register"
        )
    frozen = design(study, claims)
    refuse_pilot(frozen["blocks"], frozen["phase"])
    if planned_n(frozen["bases"]) < 2:
        raise UserError(
            f"study.blocks: found 1, expected at least 2, and {MINIMUM_BLOCKS} for anything to be shown; without a"
            " spread over blocks nothing is tested"
        )
    sds = pilot_sds(pilot, frozen) if pilot else []
    content = {
        "form": 1,
        "study": study.name,
        "registered": datetime.now(UTC).isoformat(timespec="seconds"),
        "design": frozen,
        "analysis": analysis(root),
        "pilot": sds,
        "power": [_without_nan(row) for row in power_rows({**frozen, "pilot": sds})],
    }
    content = {key: canonical(value) for key, value in content.items()}
    content["sha256"] = sha256(content)
    in_words(content)  # fails before the file exists if the content cannot be described
    _create(Path(path), content)
    return content


def _without_nan(row: dict) -> dict:
    return {key: None if value != value else value for key, value in row.items()}


def _create(path: Path, content: dict) -> None:
    """Write a file that must not exist, whole or not at all."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file of that name, or a folder that is not writable
        raise UserError(f"{path.parent}: not a folder that can be written to ({error.strerror})") from None
    try:
        handle = open(path, "x", encoding="utf-8")
    except FileExistsError:
        raise UserError(
            f"{path}: exists already; a registration is never overwritten. To register another design, give the study"
            " another name"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        with handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
    except BaseException as error:  # a full disk must leave no half of a registration
        path.unlink()
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
        raise


def read(path) -> dict:
    """The registration at `path`.

    Raises UserError if it is not a registration, or was edited after it was written.
    """
    content = read_yaml(path)
    wrong = check_schema("", content, schema_named("preregistration"))
    if wrong:
        raise UserError(f"{path}: {wrong[0]}; restore the file as it was registered")
    recorded, rest = content["sha256"], {key: value for key, value in content.items() if key != "sha256"}
    if sha256(rest) != recorded:
        raise UserError(
            f"{path}: found content with SHA-256 {sha256(rest)[:12]}…, expected {recorded[:12]}…, as registered: it was"
            " edited by hand; restore it (git checkout), or register another design under another name"
        )
    return content


def pilot_of(path) -> list[dict]:
    """The pilot's SDs in the registration at `path`; [] without a registration."""
    return read(path)["pilot"] if Path(path).exists() else []


def pilot_sds(folder, frozen: dict) -> list[dict]:
    """SDs of a pilot's paired differences, on the primary metrics and on learning accuracy.

    Returns {stream, contrast, metric, n, sd} each.

    folder: the pilot's results folder; frozen: the design to be planned, whose contrasts the pilot must have. Raises
    UserError for a folder without the tables, and for blocks that are not a pilot's: the blocks of a study never fix
    its own n.
    """
    sds = []
    for stream in frozen["streams"]:
        path = Path(folder) / stream / "statistics" / "differences.csv"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; expected the results folder of a study that was run with"
                " study.phase: pilot"
            )
        frame = tables.read(integrity.verified(path))
        foreign = sorted({block for block in frame.block if not block.startswith(PILOT)})
        if foreign:
            raise UserError(
                f"{path}: found block {foreign[0]!r}, expected blocks of a pilot ({PILOT}1, ...); run the pilot with"
                " study.phase: pilot"
            )
        names = {contrast["name"] for contrast in frozen["contrasts"]}
        rows = frame[
            (frame.scale == "raw")
            & frame.metric.isin([*metrics.PRIMARY, LEARNING])
            & frame.contrast.isin(names)
        ]
        for (contrast, metric), group in rows.groupby(["contrast", "metric"], sort=False):
            units = group.groupby("base", sort=False).difference.mean()
            values = units if len(units) > 1 else group.difference
            if len(values) > 1 and values.std() > 0:
                cells = (stream, contrast, metric, len(values), float(values.std()))
                sds.append(dict(zip(("stream", "contrast", "metric", "n", "sd"), cells, strict=True)))
    if not sds:
        raise UserError(f"{folder}: found no contrast of this study with an SD, expected at least one")
    return sds


def in_words(registration: dict) -> list[str]:
    """What the planned n can and cannot show, one line each, for the terminal."""
    planned, rows = registration["design"], registration["power"]
    unit, n = "base" if shared(planned["bases"]) else "block", planned_n(planned["bases"])
    if not rows:
        return [f"n = {_count(n, unit)}; no difference is tested"]
    first = rows[0]
    lines = [
        f"n = {_count(n, unit)}; {_count(first['tests'], 'separate confirmatory claim')}, tested at level"
        f" {first['level']:g} for all of them together"
    ]
    if n < MINIMUM_BLOCKS:
        lines.append(
            f"Warning: below {MINIMUM_BLOCKS} {unit}s every claim is described only, whatever the numbers: nothing can"
            " be shown."
        )
    elif not first["exact_reaches"]:
        lines.append("Warning: at this n the sign-flip test cannot reach the level: nothing can be shown.")
    if n < 2:
        return lines
    pilot = {(sd["stream"], sd["contrast"], sd["metric"]): sd["n"] for sd in _pilot(registration)}
    several = len({row["stream"] for row in rows}) > 1
    return (
        lines
        + [
            (f"{row['stream']}: " if several else "")
            + _line(row, unit, pilot.get((row["stream"], row["contrast"], row["metric"])))
            for row in rows
        ]
        + ([_flips(n)] if n >= MINIMUM_BLOCKS else [])
    )


def _flips(n: int) -> str:
    """How the sign-flip test of n units is computed."""
    if n <= ENUMERATED:
        return f"The sign-flip test enumerates all {2**n:,} signs."
    error = math.sqrt(0.05 * 0.95 / DRAWS)
    return (
        f"The sign-flip test draws {DRAWS:,} random flips, as there are more than {ENUMERATED} units: at p = .05 its"
        f" standard error is {error:.4f}."
    )


def _pilot(registration: dict) -> list[dict]:
    """The pilot's SDs: of a registration, or of a plan, which has them in its design."""
    return registration.get("pilot") or registration["design"].get("pilot", [])


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _known(value: float | None) -> bool:
    """Whether there is a number: computed values can be NaN, values read from a file None."""
    return value is not None and value == value


def _line(row: dict, unit: str, pilot_n: int | None) -> str:
    needed = "more than 100,000" if row["blocks_for_effect"] is None else row["blocks_for_effect"]
    line = (
        f"{row['contrast']}, {row['metric']}, {row['source']} SD {100 * row['sd']:.1f} points: detects"
        f" {100 * row['detectable']:.1f} points with power .8"
    )
    if row["source"] == "pilot" and pilot_n:
        upper = power.upper_sd(row["sd"], pilot_n)
        worst = power.detectable(row["n"], upper, row["level"] / row["tests"])
        line += (
            f" ({100 * worst:.1f} at {100 * upper:.1f}, the upper 80 % confidence limit of an SD from"
            f" {_count(pilot_n, unit)})"
        )
    line += f"; {100 * row['effect']:g} points need {needed} {unit}s"
    if _known(row["gate_power"]):
        line += f"; an arm that learns as much passes the learning gate with power {row['gate_power']:.2f}"
    if not _known(row["tost_power"]):
        return line
    return (
        f"{line}; equivalence within {100 * row['margin']:g} points has power {row['tost_power']:.2f} where there"
        " is no difference"
    )
