"""Judge the claims of a whole study: claims.csv, power.csv and loads.csv from the tables of its streams.

Nothing is judged if an instrument check of any stream failed, or if pilot blocks are among those of another study.
"""

import csv
import math

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.statistics import power
from sparse_continual.statistics.contrasts import arms, shared
from sparse_continual.statistics.gate import LEARNING
from sparse_continual.statistics.metrics import PRIMARY
from sparse_continual.statistics.summary import described
from sparse_continual.streams.orders import PILOT
from sparse_continual.verdicts.instrument import refuse_failed
from sparse_continual.verdicts.judge import counted, gated, judge, stream_of
from sparse_continual.verdicts.tables import JUDGED, LOADS


def judge_study(streams: dict, deviations_path, budget_path, plan: dict, outputs: dict) -> None:
    """Write the study's claims, power and loads.

    streams: name -> {differences, flags, instrument} (paths); plan: {claims, contrasts, statistics, phase, bases: block
    -> base, bits: stream -> number of bits to be stored (None if unknown), pilot: SDs as `registration.pilot_sds`
    returns them}; outputs: {claims, power, loads} (paths).
    """
    for name, paths in streams.items():
        refuse_failed(tables.read(paths["instrument"]).to_dict("records"), f"stream {name}")
    refuse_pilot(plan["bases"], plan["phase"])
    deviations = tables.read(deviations_path)
    differences = {name: tables.read(paths["differences"]) for name, paths in streams.items()}
    statistics, bases = plan["statistics"], plan["bases"]
    settings = {
        "level": statistics["level"],
        "learning_margin": statistics["learning_margin"],
        "phase": plan["phase"],
        "registered": "registration" not in set(deviations.kind),
        "stale": set(deviations.what[deviations.kind == "claim exploratory"]),
        "bases": bases,
        "contrasts": plan["contrasts"],
        "collapsed": collapsed({name: tables.read(paths["flags"]) for name, paths in streams.items()}),
    }
    samples = samples_of(differences, plan["contrasts"])
    rows = [with_power(row) for row in judge(plan["claims"], samples, settings)]
    with open(budget_path, newline="", encoding="utf-8") as handle:
        nonzeros = {
            (row["stream"], row["condition"]): float(row["nonzeros"]) for row in csv.DictReader(handle)
        }
    judged = (rows, power_rows(plan, rows), load_rows(differences, plan, nonzeros))
    for table, rows in zip(JUDGED, judged, strict=True):
        tables.write(outputs[table.name], table.frame(rows))


def samples_of(differences: dict, contrasts: list[dict]) -> dict:
    """{(stream, contrast, metric): {block: difference}} on the raw scale, for `judge`.

    differences: stream -> differences.csv as a DataFrame. For a load contrast, its difference on the first stream minus
    that on the second; raises UserError naming the blocks that only one of them has.
    """
    samples: dict = {}
    for stream, frame in differences.items():
        raw = frame[frame.scale == "raw"]
        for row in raw.itertuples(index=False):
            samples.setdefault((stream, row.contrast, row.metric), {})[row.block] = row.difference
    for contrast in contrasts:
        if "streams" not in contrast:
            continue
        name, (first, second) = contrast["name"], contrast["streams"]
        alone = samples[first, name, LEARNING].keys() ^ samples[second, name, LEARNING].keys()
        if alone:
            raise UserError(
                f"study.contrasts: {name}: only one of the streams {first} and {second} has block"
                f" {', '.join(sorted(alone))}; expected both on every block"
            )
        for metric in [
            metric for stream, contrast_name, metric in samples if (stream, contrast_name) == (first, name)
        ]:
            one, other = samples[first, name, metric], samples.get((second, name, metric), {})
            both = {block: one[block] - other[block] for block in one if block in other}
            samples[stream_of({}, contrast), name, metric] = both
    return samples


def collapsed(flags: dict) -> dict:
    """{(stream, condition): blocks in which it collapsed}; flags: stream -> flags.csv as a DataFrame."""
    blocks: dict = {}
    for stream, frame in flags.items():
        for row in frame[frame.kind == "collapse"].itertuples(index=False):
            blocks.setdefault((stream, row.condition), set()).add(row.block)
    return blocks


def refuse_pilot(blocks, phase: str) -> None:
    """Raise UserError if another study contains a block of a pilot: pilot blocks only fix SD and n."""
    pilots = [block for block in blocks if block.startswith(PILOT)]
    if pilots and phase != "pilot":
        raise UserError(
            f"study.phase: found {phase} with block {pilots[0]}, expected no pilot block: pilot blocks fix the planned"
            " SD and n, and are not used again"
        )


def with_power(row: dict) -> dict:
    """A row of claims.csv with the smallest effect detectable at its n and SD, adjusted as its test was."""
    if not row["sd"] > 0:
        return row
    level = row["level"] / (row["tests"] if row["tests"] >= 1 else 1)
    cells = {"detectable": power.detectable(int(row["n"]), row["sd"], level)}
    if row["claim_margin"] > 0:
        gate = (row["learning_sd"], row["margin"]) if row["gate_side"] else None
        cells["tost_power"] = power.gated_tost_power(
            int(row["n"]), row["sd"], row["claim_margin"], level, gate
        )
    return row | cells


def power_rows(plan: dict, rows: list[dict] = ()) -> list[dict]:
    """Rows of power.csv: every tested difference with the planned SD, a pilot's, and the observed one.

    plan: claims, contrasts, statistics, bases and pilot as for `judge_study`; rows: of claims.csv, empty before there
    are results. The planned SD is that of a difference of two arms. For an interaction or a load, the difference of two
    such differences that are treated as independent, it is sqrt(2) times that.
    """
    contrasts = {contrast["name"]: contrast for contrast in plan["contrasts"]}
    statistics, spreads = plan["statistics"], {}
    observed = {row["claim"]: (row["sd"], row["learning_sd"]) for row in rows}
    pilot = {(sd["stream"], sd["contrast"], sd["metric"]): sd["sd"] for sd in plan["pilot"]}
    tests = sum(map(counted, plan["claims"]))
    for claim in plan["claims"]:
        if "contrast" not in claim:
            continue
        contrast = contrasts[claim["contrast"]]
        key = (stream_of(claim, contrast), claim["contrast"], claim["metric"])
        double = "streams" in contrast or len(contrast["minus"]) == 2
        planned = statistics["planning_sd"] * (math.sqrt(2) if double else 1)
        learning = (*key[:2], LEARNING)
        sds = {
            "planning": (planned, planned),
            "pilot": (pilot.get(key, math.nan), pilot.get(learning, math.nan)),
            "observed": observed.get(claim["name"], (math.nan, math.nan)),
        }
        for source, (sd, learning_sd) in sds.items():
            if sd > 0:
                gate = (learning_sd, statistics["learning_margin"]) if gated(claim, contrast) else None
                spreads.setdefault((source, *key), _power(source, key, sd, gate, claim, plan, max(tests, 1)))
    return list(spreads.values())


def _power(source, key, sd, gate, claim, plan, tests) -> dict:
    statistics, margin = plan["statistics"], claim.get("margin", math.nan)
    cells = power.plan(
        planned_n(plan["bases"]),
        sd,
        margin if margin > 0 else statistics["effect"],
        statistics["effect"],
        statistics["level"],
        tests,
        gate,
    )
    if not margin > 0:
        cells |= {"margin": math.nan, "tost_power": math.nan}
    return {"source": source, **dict(zip(("stream", "contrast", "metric"), key, strict=True)), **cells}


def planned_n(bases: dict[str, str]) -> int:
    """The number of units of a study's statistics: its bases if blocks share them, else its blocks."""
    return len(set(bases.values())) if shared(bases) else len(bases)


def load_rows(differences: dict, plan: dict, nonzeros: dict) -> list[dict]:
    """Rows of loads.csv: each contrast on each stream, with the bits per weight of the plus side.

    nonzeros: (stream, condition) -> nonzero weights of its blocks.
    """
    rows, contrasts = [], {contrast["name"]: contrast for contrast in plan["contrasts"]}
    for stream, frame in differences.items():
        bits = plan["bits"].get(stream)
        primary = frame[(frame.scale == "raw") & frame.metric.isin(PRIMARY)]
        for (name, estimand, metric), group in primary.groupby(
            ["contrast", "estimand", "metric"], sort=False
        ):
            first = arms(contrasts[name])[0]
            by_block = dict(zip(group.block, group.difference, strict=True))
            cells, _ = described(by_block, plan["bases"], plan["statistics"]["level"])
            load = bits / nonzeros[stream, first] if bits else math.nan
            rows.append(
                dict(zip(LOADS.names, (stream, load, name, estimand, metric, *cells.values()), strict=True))
            )
    return rows
