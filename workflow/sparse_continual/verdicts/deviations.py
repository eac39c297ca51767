"""Compare the run with the plan.

The study's design is computed again from its config and compared key by key with the registered one and with the tables
of the run. A claim counts as exploratory if its runs are older than the registration, or if the claim, its contrast,
its arms or the reference runs of its metric differ from the registered ones. All claims do if the blocks, their orders,
the training, the scoring, the rules or the code of the analysis differ.
"""

from datetime import datetime

from sparse_continual import files, tables
from sparse_continual.errors import UserError
from sparse_continual.statistics.metrics import OF_TABLE
from sparse_continual.verdicts.claims import REFERENCES
from sparse_continual.verdicts.findings import refuse_pilot
from sparse_continual.verdicts.judge import counted
from sparse_continual.verdicts.registration import read
from sparse_continual.verdicts.tables import DEVIATIONS

EXPLORATORY = "claim exploratory"


def list_deviations(path, planned_path, now: dict, ran: dict, output) -> None:
    """Write deviations.csv: planned and run values that differ.

    path: place of the registration (planned_path: the same, or None if there is none); now: {study, design, analysis}
    of the present config; ran: {scores: stream -> scores.csv, runs: [[stream, condition, block, run.json], ...]}, one
    for every trained run: cells, references and repeats.

    A study without a registration has no plan to deviate from. For a confirmatory study, the missing registration is
    one row of kind `registration`.
    """

    current = now["design"]
    refuse_pilot(current["blocks"], current["phase"])
    if planned_path is None:
        rows = []
        if current["phase"] == "confirmatory":
            rows = [_row("registration", str(path), "a registration before the first run", "none")]
    else:
        registration = read(planned_path)
        if registration["study"] != now["study"]:
            raise UserError(
                f"{planned_path}: found study {registration['study']!r}, expected {now['study']!r}; restore the file"
            )
        rows = deviations(registration, now, tabled(ran["scores"]), finish_times(ran["runs"]))
    tables.write(output, DEVIATIONS.frame(rows))


def tabled(scores: dict) -> dict:
    """{stream: {condition: {block: order of tasks}}} of the tables of scores: the design that was run."""
    design: dict = {}
    for stream, path in scores.items():
        frame = tables.read(path)
        rows = frame[(frame.position > 0) & (frame.after == 0) & (frame.part == "all")].sort_values(
            "position"
        )
        for (condition, block), group in rows.groupby(["condition", "block"], sort=False):
            design.setdefault(stream, {}).setdefault(condition, {})[block] = list(group.task)
    return design


def finish_times(runs: list) -> dict:
    """{(stream, condition, block): when the first of its runs was finished, or None if a run.json lacks the time}.

    A cell has its own run, and those of its references and repeat: the oldest counts. Relearning savings start from the
    cell's last weights, so they are not older than it.
    """
    finished: dict = {}
    for stream, condition, block, path in runs:
        finished.setdefault((stream, condition, block), []).append(files.read_json(path).get("finished"))
    return {
        key: None if None in times else min(times, key=datetime.fromisoformat)
        for key, times in finished.items()
    }


def deviations(registration: dict, now: dict, ran: dict, finished: dict) -> list[dict]:
    """Rows {kind, what, planned, run}, one per deviation and one per claim that is exploratory because of them.

    registration: as `read`; now: {design, analysis} computed from the present config; ran: as `tabled`; finished: as
    `finish_times`.
    """
    planned, current = registration["design"], now["design"]
    rows = []
    for kind, key in (("stream", "streams"), ("condition", "conditions")):
        rows += _keyed(kind, planned[key], current[key])
    rows += _runs_made_otherwise(planned, current)
    rows += _blocks(planned, ran)
    for kind, key in (("contrast", "contrasts"), ("claim", "claims")):
        rows += _keyed(kind, _named(planned[key]), _named(current[key]))
    for key in ("statistics", "training", "tuning", "scoring", "references", "repeat", "secondary"):
        rows += [_row(key, *change) for change in _values("", planned[key], current[key])]
    for key in ("seed", "phase", "primary_metrics", "exclusion"):
        if planned[key] != current[key]:
            rows.append(_row(key, "", planned[key], current[key]))
    if registration["analysis"]["code"] != now["analysis"]["code"]:
        codes = registration["analysis"]["code"], now["analysis"]["code"]
        rows.append(_row("code", "statistics", *codes))
    rows += [
        _row("version", *change)
        for change in _values("", registration["analysis"]["versions"], now["analysis"]["versions"])
    ]
    older = sorted(run for run, time in finished.items() if _older(time, registration["registered"]))
    counts: dict = {}
    for stream, condition, _ in older:
        counts[stream, condition] = counts.get((stream, condition), 0) + 1
    for (stream, condition), count in counts.items():
        what = f"{condition}, stream {stream}"
        rows.append(
            _row("older run", what, "after the registration", f"{count} blocks before it, or without a time")
        )
    return rows + _exploratory(rows, planned, current, set(counts))


def _older(time: str | None, registered: str) -> bool:
    return time is None or datetime.fromisoformat(time) <= datetime.fromisoformat(registered)


def _exploratory(rows: list[dict], planned: dict, current: dict, older: set) -> list[dict]:
    """A row for each claim that is no longer the registered one, or rests on runs older than the registration."""
    changed = {kind: {row["what"] for row in rows if row["kind"] == kind} for kind in _BINDING}
    frozen = _named(planned["claims"])
    general = _general(rows, planned["claims"], current["claims"])
    contrasts, by_name = _named(current["contrasts"]), _named(current["claims"])

    def why(claim: dict) -> str:
        if _bound(claim) != _bound(frozen.get(claim["name"], {})):
            return "the claim is not as registered"
        if general:
            return general
        if "contrast" not in claim:
            return next(filter(None, (why(by_name[name]) for name in claim.get("all_of", ()))), "")
        beside = next((row for row in rows if _beside(row, claim["metric"])), None)
        if beside:
            return f"{beside['kind']} {beside['what']}, for {claim['metric']}, is not as registered"
        contrast = contrasts[claim["contrast"]]
        if contrast["name"] in changed["contrast"]:
            return f"contrast {contrast['name']} is not as registered"
        for stream in contrast.get("streams") or [claim["stream"]]:
            for arm in (*contrast["plus"], *contrast["minus"]):
                if (stream, arm) in older:
                    return f"runs of {arm} are older than the registration"
                if {arm, f"{arm}, stream {stream}"} & changed["condition"] or stream in changed["stream"]:
                    return f"{arm} in stream {stream} is not as registered"
        return ""

    return [
        _row(EXPLORATORY, claim["name"], "as registered", reason)
        for claim in current["claims"]
        if claim["rule"] != "untested" and (reason := why(claim))
    ]


def _general(rows: list[dict], planned: list[dict], current: list[dict]) -> str:
    """The reason that makes every claim exploratory, or "".

    Another n, other orders, another training or scoring, other rules or other code, or fewer claims to adjust for.
    """
    left = {claim["name"] for claim in current if counted(claim)}
    for claim in planned:
        if counted(claim) and claim["name"] not in left:
            return f"claim {claim['name']}, which counts in the adjustment of the others, is not tested"
    for row in rows:
        if row["kind"] == "code":
            return "judged by other code than registered"
        if row["kind"] in _GENERAL or (row["kind"] == "statistics" and row["what"] in _RULES):
            return " ".join(f"{row['kind']} {row['what']} is not as registered".split())
    return ""


def _bound(claim: dict) -> dict:
    """The binding part of a claim: everything except its presentation."""
    return {key: value for key, value in claim.items() if key not in ("figure", "reason")}


_BINDING = ("contrast", "condition", "stream")
_GENERAL = ("block", "order", "training", "scoring", "primary_metrics")
_RULES = ("level", "learning_margin")


def _beside(row: dict, metric: str) -> bool:
    """Whether a row is about reference runs that a claim on `metric` uses."""
    if metric in OF_TABLE:
        return row["kind"] == "secondary" and row["what"].split(".")[0] == OF_TABLE[metric].needs
    if metric in REFERENCES:
        kind = REFERENCES[metric]
        return row["kind"] == "references" and row["what"] in (
            (kind, "joint_at") if kind == "joint" else (kind,)
        )
    return False


def _keyed(kind: str, planned: dict, current: dict) -> list[dict]:
    """Rows for keys that were added, are missing, or have other settings."""
    rows = [_row(kind, name, "planned", "missing") for name in planned if name not in current]
    rows += [_row(kind, name, "not planned", "added") for name in current if name not in planned]
    for name in planned:
        if name in current and planned[name] != current[name]:
            what, before, after = _values("", planned[name], current[name])[0]
            rows.append(_row(kind, name, f"{what}: {before}", f"{what}: {after}"))
    return rows


def _runs_made_otherwise(planned: dict, current: dict) -> list[dict]:
    """Conditions with the same settings whose runs have other inputs (files, sizes, training)."""
    named = {
        name
        for name in planned["conditions"]
        if planned["conditions"][name] != current["conditions"].get(name)
    }
    return [
        _row("condition", f"{condition}, stream {stream}", f"made of {digest}", f"made of {actual}")
        for stream, digests in planned["runs"].items()
        for condition, digest in digests.items()
        if condition not in named
        and (actual := current["runs"].get(stream, {}).get(condition, digest)) != digest
        and planned["blocks"] == current["blocks"]
    ]


def _blocks(planned: dict, ran: dict) -> list[dict]:
    """Blocks that were not planned, are missing, or had other orders, by the tables."""
    rows = []
    for stream, conditions in ran.items():
        orders, run_orders = planned["orders"].get(stream, {}), {}
        for condition, blocks in conditions.items():
            for block in dict.fromkeys([*orders, *blocks]):
                change = _change(orders.get(block), blocks.get(block))
                if change:
                    run_orders.setdefault((block, change), []).append(condition)
        for (block, (kind, before, after)), arms in run_orders.items():
            where = "" if len(arms) == len(conditions) else f" in {', '.join(arms)}"
            rows.append(_row(kind, f"{block}, stream {stream}", before, after + where))
    return rows


def _change(planned: list | None, ran: list | None) -> tuple | None:
    """(kind, planned, run) if a block's order of tasks, None for no such block, differs from the plan."""
    if planned == ran:
        return None
    if planned is None:
        return "block", "not planned", "added"
    if ran is None:
        return "block", "planned", "missing"
    return "order", " ".join(planned), " ".join(ran)


def _named(entries: list[dict]) -> dict:
    return {entry["name"]: entry for entry in entries}


def _values(where: str, planned, current) -> list[tuple]:
    """(dotted key, planned, current) of every value that differs, including nested sections."""
    if not (isinstance(planned, dict) and isinstance(current, dict)):
        return [] if planned == current else [(where, planned, current)]
    keys = list(planned) + [key for key in current if key not in planned]
    return [
        change
        for key in keys
        for change in _values(f"{where}.{key}".strip("."), planned.get(key), current.get(key))
    ]


def _row(kind, what, planned, run) -> dict:
    return dict(zip(DEVIATIONS.names, (kind, what, *map(_text, (planned, run))), strict=True))


def _text(value) -> str:
    if value is None:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
