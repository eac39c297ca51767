"""The tables of the page: the rows and columns of which files it shows, and under which heading."""

import csv
from pathlib import Path

from sparse_continual import tables
from sparse_continual.report import published, rates
from sparse_continual.report.guard import withheld
from sparse_continual.report.html_table import table
from sparse_continual.report.words import Words, absent
from sparse_continual.show import count, probability
from sparse_continual.statistics import gate
from sparse_continual.statistics.metrics import PRIMARY

DIFF_LINES = 200  # of the uncommitted changes that trained a run

_TOLD = (
    "mean lower upper simultaneous_lower simultaneous_upper detectable p gate_p holm_p sign_flip_p".split()
)


def of_stream(
    folder: Path, name: str, frames: dict, primary: list[dict], budget: list[dict], facts: dict, words: Words
) -> dict:
    """The tables of one stream by name.

    `folder` is the stream's, `found` its statistics and tables, `primary` its rows of primary_rows, `budget` the
    rows of budget.csv.
    """

    def made(key, rows, columns, file="", caption=""):
        path = f"../{name}/{file}" if file else ""
        return table(words, f"{name}-{key}", rows, columns, path, caption)

    def shown(key, columns, caption=""):
        return made(key, frames[key].to_dict("records"), columns, f"statistics/{key}.csv", caption)

    contrasts, summary = frames["contrasts"], frames["summary"]
    plain = (summary.part == "all") & (summary.scale == "raw")
    levels = summary.rename(columns={"mean": "level_mean"})
    beside = contrasts[(contrasts.role != "primary") | (contrasts.scale != "raw")]
    gates = contrasts[(contrasts.role == "primary") & (contrasts.minus != "")].drop_duplicates("contrast")
    priced = [_price(row, facts, words) for row in budget if row["stream"] == name]
    secondary = "page.secondary"
    return {
        "name": name,
        "budget": table(
            words,
            f"{name}-budget",
            priced,
            "condition topology:text mechanism writes matched parameters nonzeros density trained"
            " training_theoretical training_executed tokens_per_run buffer",
            "../budget.csv",
            words("page.run.price"),
        ),
        "arms": made(
            "arms",
            _arms(frames, facts),
            "condition n learning_rate steps stops tokens update_norm relative_update ends_share",
            "tables/runs.csv",
            words("page.run.trained"),
        ),
        "orders": made("orders", _orders(folder / "orders.csv"), "block order", "orders.csv"),
        "planned": made(
            "planned",
            _planned(frames["runs"], facts, name),
            "condition blocks_planned blocks_run tasks_planned tasks_run",
            caption=words("page.run.planned"),
        ),
        "primary": made(
            "primary",
            primary,
            "contrast estimand metric n unit gate mean lower upper hedges_g claims note",
            "statistics/contrasts.csv",
        ),
        "gates": made(
            "gates",
            gates.to_dict("records"),
            "contrast estimand n learning_difference learning_lower margin gate_passed",
            "statistics/contrasts.csv",
        ),
        "frontier": shown("frontier_contrasts", "contrast estimand at n mean lower upper note"),
        "levels": made(
            "levels",
            levels[plain].to_dict("records"),
            "condition metric n level_mean lower upper note",
            "statistics/summary.csv",
            words(f"{secondary}.levels"),
        ),
        "parts": made(
            "parts",
            levels[~plain].to_dict("records"),
            "part scale condition metric n level_mean:amount lower:amount upper:amount note",
            "statistics/summary.csv",
            words(f"{secondary}.parts"),
        ),
        "beside": made(
            "beside",
            beside.to_dict("records"),
            "contrast estimand metric scale n mean:amount lower:amount upper:amount note",
            "statistics/contrasts.csv",
            words(f"{secondary}.metrics"),
        ),
        "specification": shown(
            "specification",
            "contrast estimand metric scale part estimator n mean:amount lower:amount upper:amount primary",
            words(f"{secondary}.specification"),
        ),
        "components": shown(
            "components",
            "metric condition_or_contrast component sd:number share note",
            words(f"{secondary}.components"),
        ),
        "slopes": shown(
            "slopes",
            "condition quantity n ratio lower:number upper:number simultaneous_lower:number"
            " simultaneous_upper:number note",
            words(f"{secondary}.slopes"),
        ),
        "topology": made(
            "topology",
            _audit(frames["densities"]),
            "topology pattern bases_counted weights nonzeros density density_lowest density_highest",
            "tables/densities.csv",
        ),
        "declared": made(
            "declared",
            published.compared(facts, frames["densities"], budget),
            "topology base:code declared_pattern declared_sparsity:number pattern sparsity:number agrees:flag",
            "tables/densities.csv",
            words("page.topology.declared"),
        ),
        "sensitivity": shown("sensitivity", "contrast estimand metric left_out which n mean lower upper"),
        "instrument": shown("instrument", "check arm passed value expected why"),
        "flags": made(
            "flags", _flag_counts(frames["flags"]), "kind condition part count", "statistics/flags.csv"
        ),
    }


def of_claims(rows: list[dict], words: Words) -> dict:
    """All claims with their numbers; none on what a failed gate leaves unsaid."""
    return table(
        words,
        "claims",
        [_quiet(row) for row in rows],
        "claim verdict role stream contrast estimand metric n unit mean lower upper simultaneous_lower"
        " simultaneous_upper p gate_p holm_p sign_flip_p detectable gate_passed note",
        "../statistics/claims.csv",
    )


def of_members(claim: str, members: list[dict], words: Words) -> dict:
    """The members of a joint claim: estimates, and the tests that it takes the largest p of."""
    return table(
        words,
        f"members-{claim}",
        [_quiet(row) for row in members],
        "claim contrast estimand metric n mean lower upper p gate_p sign_flip_p gate_passed",
        caption=words("page.claims.members"),
    )


def of_equivalence(rows: list[dict], words: Words) -> dict:
    """The claims that have a margin, where their gate lets them be spoken of."""
    shown = [row for row in rows if not absent(row["claim_margin"]) and _quiet(row) is row]
    return table(
        words,
        "equivalence",
        shown,
        "claim estimand metric n claim_margin equivalence_lower equivalence_upper tost_p tost_power verdict",
        "../statistics/claims.csv",
    )


def of_loads(loads: list[dict], words: Words) -> dict:
    """Differences by the load of the stream."""
    columns = "stream bits_per_nonzero contrast estimand metric n mean lower upper"
    return table(words, "loads", loads, columns, "../statistics/loads.csv", words("page.secondary.loads"))


def of_deviations(rows: list[dict], words: Words) -> dict:
    """What was planned against what was run."""
    return table(words, "deviations", rows, "kind what planned run:text", "../statistics/deviations.csv")


def of_power(rows: list[dict], words: Words) -> dict:
    """What the planned n can detect."""
    columns = (
        "source stream contrast metric n sd:size level tests detectable effect blocks_for_effect margin tost_power"
        " gate_power exact_reaches"
    )
    return table(words, "power", rows, columns, "../statistics/power.csv")


def of_environment(environment: dict | None, words: Words) -> dict | None:
    """Machines, versions, commits and the total training time, from environment.gather."""
    if environment is None:
        return None
    code = [
        {"commit": row["commit"], "uncommitted": row["digest"][:8], "n": row["runs"]}
        for row in environment["code"]
    ]
    machines = [machine | {"n": machine["runs"]} for machine in environment["machines"]]
    versions = [{"name": name, "version": version} for name, version in environment["versions"].items()]
    hours = sum(machine["seconds"] for machine in machines) / 3600
    return {
        "total": words("page.environment.total", runs=sum(m["n"] for m in machines), hours=f"{hours:.2g}"),
        "versions": table(words, "versions", versions, "name version"),
        "differences": environment["differences"]
        and table(words, "differences", environment["differences"], "name version locked"),
        "code": table(words, "code", code, "commit uncommitted n"),
        "diffs": {digest[:8]: _shortened(diff, words) for digest, diff in environment["diffs"].items()},
        "machines": table(words, "machines", machines, "device processor threads n seconds"),
    }


def _shortened(diff: str, words: Words) -> str:
    """The first lines of a long diff, and the number of further lines."""
    lines = diff.splitlines()
    if len(lines) <= DIFF_LINES:
        return diff
    rest = words("page.environment.diff_rest", n=len(lines) - DIFF_LINES)
    return "\n".join([*lines[:DIFF_LINES], rest])


def of_digests(path: Path, words: Words) -> dict:
    """Every cell of the design with the names, digests included, of its run and scores."""
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    named = [row | {key: Path(row[key]).name for key in ("run", "scores")} for row in rows]
    return table(words, "digests", named, "stream condition block run scores", "../index.csv")


def primary_rows(contrasts, stream: str, claims: list[dict], words: Words) -> list[dict]:
    """The rows of contrasts.csv on a primary metric, raw, with their gate and their claims.

    `claims` are the rows of claims.csv. If the gate of a row, or of a claim on it, failed, the row has no estimate.
    Members of joint claims are tested through those and have no verdict here. `holm_p` and `verdict` are lists of
    words, one per claim.
    """
    rows = contrasts[
        (contrasts.role == "primary") & contrasts.metric.isin(PRIMARY) & (contrasts.scale == "raw")
    ]
    return [_with_claims(row, stream, claims, words) for row in rows.to_dict("records")]


def _with_claims(row, stream, claims, words):
    key = (row["contrast"], row["metric"], stream)
    resting = [_quiet(claim) for claim in claims if rests_on(claim) == key]
    # claims on a row have gates of the sides that they favour; without claims, the estimate favours a side
    quiet = any(silent(claim) for claim in resting) if resting else not gate.passed(row)
    state = "failed" if quiet else "passed" if row["minus"] else "none"
    separate = [claim for claim in resting if claim["role"] != "component"]
    verdicts = [_verdict(claim, words) for claim in separate]
    named = [f"{claim['claim']} ({word})" for claim, word in zip(separate, verdicts, strict=True)]
    return (
        row
        | (dict.fromkeys((*_TOLD, "hedges_g"), "") if quiet else {})
        | {"gate": words(f"gate.{state}"), "claims": words.join(named), "verdict": verdicts}
        | {
            "holm_p": [
                "--" if absent(claim["holm_p"]) else probability(claim["holm_p"]) for claim in separate
            ]
        }
    )


def _verdict(claim: dict, words: Words) -> str:
    """The verdict as a table shows it; a claim shown by non-inferiority says so."""
    verdict = words.name("verdicts", claim["verdict"]).lower()
    if claim["rule"] != "noninferiority" or claim["verdict"] != "shown":
        return verdict
    return words("inferior", verdict=verdict, margin=f"{100 * claim['claim_margin']:g}")


def rests_on(claim: dict) -> tuple[str, str, str]:
    """(contrast, metric, stream) of a row of claims.csv."""
    return claim["contrast"], claim["metric"], claim["stream"]


def silent(claim: dict) -> bool:
    """Whether a gate forbids a statement about the estimate in a row of claims.csv."""
    return claim["verdict"] == "gate failed" or (claim["verdict"] != "not tested" and withheld(claim))


def _quiet(row):
    """A row of claims.csv, without its estimate and tests if a gate forbids a statement about them."""
    return row | dict.fromkeys(_TOLD, "") if silent(row) else row


def _price(row, facts, words) -> dict:
    """A row of budget.csv with the settings of its condition."""
    condition = facts["conditions"][row["condition"]]
    topology = condition["topology"]
    if condition.get("locked") is False:
        topology = words("page.run.unlocked", topology=topology)
    matched = ""
    if row["matched_on"]:
        error = f"{100 * abs(float(row['matched_error'])):.2g}"
        matched = words("page.run.match", on=row["matched_on"], to=row["matched_to"], error=error)
    buffer = ""
    if float(row.get("buffer_tokens") or 0):
        sizes = {key: count(row[f"buffer_{key}"]) for key in ("tokens", "bytes")}
        buffer = words("page.run.buffer", **sizes)
    settings = {
        "topology": topology,
        "mechanism": condition["mechanism"],
        "writes": condition["writes"],
    }
    return row | settings | {"matched": matched, "buffer": buffer}


def _arms(frames, facts) -> list[dict]:
    """The training of each condition: its chosen rate, and means over blocks and tasks."""
    rows = []
    for condition in facts["study"]["conditions"]:
        runs = frames["runs"][frames["runs"].condition == condition]
        rate = rates.chosen(frames["frontier"]).get(condition, "")
        means = {
            key: float(runs[key].mean()) for key in ("steps", "tokens", "update_norm", "relative_update")
        }
        rows.append(
            {
                "condition": condition,
                "n": runs.block.nunique(),
                "learning_rate": rate if rate == "" else f"{rate:g}",
                "stops": ", ".join(f"{stop} {n}" for stop, n in runs.stop.value_counts().items()),
                "ends_share": float(runs.ends_share.mean()),
                **means,
            }
        )
    return rows


def _planned(runs, facts, stream) -> list[dict]:
    """Planned blocks and tasks of every condition against those that were run."""
    rows = []
    for condition in facts["study"]["conditions"]:
        condition_runs = runs[runs.condition == condition]
        tasks = condition_runs.groupby("block").task.nunique()
        rows.append(
            {
                "condition": condition,
                "blocks_planned": facts["study"]["blocks"],
                "blocks_run": condition_runs.block.nunique(),
                "tasks_planned": facts["tasks"][stream],
                "tasks_run": int(tasks.min()) if len(tasks) else 0,
            }
        )
    return rows


def _audit(densities) -> list[dict]:
    """Counted density of every topology, over its matrices and the bases that it was counted on."""
    return [
        {
            "topology": topology,
            "pattern": pattern,
            "bases_counted": rows.block.nunique(),
            "weights": rows.weights.sum() / rows.block.nunique(),
            "nonzeros": rows.nonzeros.sum() / rows.block.nunique(),
            "density": float(rows.nonzeros.sum() / rows.weights.sum()),
            "density_lowest": float(rows.density.min()),
            "density_highest": float(rows.density.max()),
        }
        for (topology, pattern), rows in densities.groupby(["topology", "pattern"], sort=False)
    ]


def _flag_counts(flags) -> list[dict]:
    counts = flags.groupby(["kind", "condition", "part"], sort=False).size()
    return [
        dict(zip(("kind", "condition", "part", "count"), (*key, n), strict=True)) for key, n in counts.items()
    ]


def _orders(path: Path) -> list[dict]:
    orders = tables.read(path).sort_values("position", kind="stable")
    return [
        {"block": block, "order": " → ".join(rows.task)}
        for block, rows in orders.groupby("block", sort=False)
    ]
