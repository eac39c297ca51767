"""A made-up study: facts of its config, and its tables to the last column, without any training.

The claims are judged by the library from made-up differences, one claim for every verdict; all other
tables are filled by rule of their columns' names.
"""

import numpy as np
import pandas

from sparse_continual import registry, tables
from sparse_continual.statistics.metrics import METRICS
from sparse_continual.streams.settings import filled
from sparse_continual.verdicts.judge import judge

ENVIRONMENT = {
    "versions": {"python": "3.11.9", "numpy": "2.4.6"},
    "machines": [{"device": "cpu", "processor": "x86_64", "threads": "1", "runs": 60, "seconds": 5400.0}],
    "differences": [{"name": "numpy", "version": "2.4.6", "locked": "2.4.5"}],
    "code": [
        {"commit": "0123abcd", "digest": "", "runs": 40},
        {"commit": "0123abcd", "digest": "feed" * 16, "runs": 20},
    ],
    "diffs": {"feed" * 16: "".join(f"+line <{number}>\n" for number in range(250))},
}
CONDITIONS = ["dense", "sparse", "unlocked", "matched_flops", "dense_lora", "sparse_lora", "dense_replay"]
CONTRASTS = [
    {"name": "lock", "plus": ["sparse"], "minus": ["unlocked"], "estimand": "lock"},
    {"name": "same_shape", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"},
    {"name": "matched_flops", "plus": ["sparse"], "minus": ["matched_flops"], "estimand": "matched_flops"},
    {"name": "sparse_level", "plus": ["sparse"], "minus": [], "estimand": "level"},
    {"name": "replay_instead", "plus": ["dense_replay"], "minus": ["sparse"], "estimand": "other"},
    {
        "name": "lora_interaction",
        "plus": ["sparse_lora", "dense"],
        "minus": ["sparse", "dense_lora"],
        "estimand": "stacking",
    },
]
# claim -> contrast, rule, direction, margin, mean and spread of forgetting, mean of learning
CLAIMS = {
    "lock_forgets_less": ("lock", "superiority", "less", None, -0.060, 0.008, 0.0),
    "same_shape_forgets_less": ("same_shape", "superiority", "less", None, 0.050, 0.008, 0.0),
    "flops_alike": ("matched_flops", "equivalence", "", 0.05, 0.002, 0.006, 0.0),
    "replay_forgets_less": ("replay_instead", "superiority", "less", None, -0.004, 0.040, 0.0),
    "lora_adds": ("lora_interaction", "superiority", "less", None, -0.080, 0.010, -0.2),
    "sparse_forgets": ("sparse_level", "superiority", "more", None, 0.300, 0.020, 0.0),
}


def claims() -> list[dict]:
    """The claims file's list: those of CLAIMS, and one joint, one exploratory and one untested claim."""
    found = []
    for name, (contrast, rule, direction, margin, *_) in CLAIMS.items():
        claim = {"name": name, "rule": rule, "role": "confirmatory", "stream": "people", "contrast": contrast}
        claim |= {"metric": "forgetting", "figure": "forest", "sentence": _sentence(name)}
        claim |= {"direction": direction} if direction else {}
        found.append(claim | ({"margin": margin} if margin else {}))
    joint = {"name": "sparse_in_general", "rule": "all_of", "role": "confirmatory", "stream": "people"}
    members = ["lock_joint", "flops_joint"]
    found.append(joint | {"all_of": members, "figure": "forest", "sentence": _sentence("sparse_in_general")})
    for name, contrast in zip(members, ("lock", "matched_flops"), strict=True):
        single = found[0] | {"name": name, "contrast": contrast, "role": "component"}
        found.append(single | {"sentence": _sentence(name)})
    found.append(found[0] | {"name": "looked_at", "role": "exploratory", "sentence": _sentence("looked_at")})
    reason = {"en": "Nothing here measures it.", "zh": "此处没有任何测量涉及它。"}
    untested = {"name": "path_survival", "rule": "untested", "role": "confirmatory", "figure": ""}
    found.append(untested | {"reason": reason, "sentence": _sentence("path_survival")})
    return found


def _sentence(name):
    return {"en": f"The claim {name} holds.", "zh": f"主张 {name} 成立。"}


def judged(n=10, bases=None, phase="demonstration", registered=None, rng=None) -> list[dict]:
    """Rows of claims.csv of `claims()`, judged from n made-up blocks.

    Differences are those of CLAIMS; with a random generator `rng`, any.
    """
    blocks = [str(b + 1) for b in range(n)]
    shape = np.linspace(-1, 1, n) / np.std(np.linspace(-1, 1, n)) if n > 1 else np.zeros(1)
    fixed, samples = np.random.default_rng(0), {}
    for contrast, _, _, _, mean, sd, learning in CLAIMS.values():
        width = 0.01
        if rng is not None:
            mean, learning = rng.choice([0, 0.02, 0.06], 2) * rng.choice([-1, 1], 2)
            sd, width = rng.choice([0, 0.002, 0.02, 0.08], 2)
        for metric, centre, spread in (("forgetting", mean, sd), ("learning_accuracy", learning, width)):
            noise = fixed.permutation(shape) if rng is None else rng.standard_normal(n)
            differences = centre + spread * noise
            samples["people", contrast, metric] = dict(zip(blocks, map(float, differences), strict=True))
    settings = {
        "level": 0.05,
        "learning_margin": 0.05,
        "phase": phase,
        "registered": registered,
        "stale": [],
        "bases": bases or {block: block for block in blocks},
        "contrasts": CONTRASTS,
        "collapsed": {},
    }
    rows = judge(claims(), samples, settings)
    for row in rows:
        if row["rule"] not in ("all_of", "untested"):
            row["detectable"] = 0.03
            row["tost_power"] = 0.8 if row["claim_margin"] > 0 else np.nan
    return rows


def facts(streams=("people",), one_base=False, blocks=10) -> dict:
    """The slice of config that the report shows."""
    conditions = {}
    for name in CONDITIONS:
        sparse = name.startswith(("sparse", "unlocked"))
        conditions[name] = {
            "base": "tiny",
            "topology": "sparse_2of4" if sparse else "dense",
            "mechanism": name.split("_")[1] if name.endswith(("lora", "replay")) else "finetune",
            "locked": name != "unlocked",
            "writes": "all",
        }
        if name.startswith("matched"):
            conditions[name]["match"] = {"to": "sparse_2of4", "on": "flops"}
    return {
        "study": {
            "name": "made-up",
            "seed": 0,
            "blocks": blocks,
            "blocks_per_base": 1,
            "streams": list(streams),
            "conditions": CONDITIONS,
            "training": {"batch_size": 32, "stop": {"steps": 120}, "ends": "frozen"},
            "tuning": {"learning_rates": [0.001, 0.002], "blocks": 2, "tasks": 3},
            "statistics": {"level": 0.05, "learning_margin": 0.05},
            "contrasts": CONTRASTS,
        },
        "phase": "demonstration",
        "language": "en",
        "registration": None,
        "claims": claims(),
        "configfiles": [],
        "bases_of_blocks": bases_of_blocks(blocks, blocks if one_base else 1),
        "bases": {"tiny": {"source": "hub" if one_base else "generated"}},
        "topologies": {
            "dense": {"method": "dense"},
            "sparse_2of4": {"method": "magnitude", "pattern": "2:4"},
        },
        "mechanisms": {
            "finetune": {"kind": "finetune"},
            "lora": {"kind": "lora", "rank": 8, "form": "masked"},
        },
        "streams": {name: {"source": "facts", "tasks": 6, "people": 32} for name in streams},
        "tasks": {name: 6 for name in streams},
        "bits": {name: 6 * 32 * 12.97 for name in streams},
        "generated": not one_base,
        "conditions": conditions,
        "topology_names": {name: own["topology"] for name, own in conditions.items()},
        "figures": {
            name: filled(registry.schema("figures", name), {"title": f"Title of {name}"})
            for name in registry.names("figures")
        },
    }


def bases_of_blocks(blocks: int, shared: int = 1) -> dict[str, str]:
    """block -> its base, which so many successive blocks share."""
    return {str(b + 1): str(b - b % shared + 1) for b in range(blocks)}


def results(root, facts: dict, rows: list[dict] | None = None):
    """The folder `root` filled with every table and figure that the report reads."""
    blocks = [str(b + 1) for b in range(facts["study"]["blocks"])]
    streams = facts["study"]["streams"]
    write = {}
    write["statistics/claims"] = tables.every()["claims"].frame(rows or judged(len(blocks)))
    for name in ("power", "loads", "deviations"):
        write[f"statistics/{name}"] = _rows(name, _contrasts("forgetting"))
    for stream in streams:
        for name in (
            "contrasts",
            "frontier_contrasts",
            "sensitivity",
            "specification",
            "components",
            "slopes",
            "differences",
            "frontier_blocks",
            "metrics",
            "retention",
        ):
            write[f"{stream}/statistics/{name}"] = _rows(name, _contrasts("forgetting", "forward_transfer"))
        write[f"{stream}/statistics/contrasts"] = _gates(write[f"{stream}/statistics/contrasts"])
        rows = [{"check": "identical arms", "arm": arm, "value": 0.0} for arm in CONDITIONS]
        write[f"{stream}/statistics/instrument"] = _rows("instrument", rows)
        rows = [
            {"condition": condition, "metric": metric, "scale": scale, "part": "all"}
            for scale in ("raw", "corrected", "bits")
            for condition in CONDITIONS
            for metric in METRICS
        ]
        write[f"{stream}/statistics/summary"] = _rows("summary", rows)
        rows = [{"kind": "floor", "condition": "dense", "block": block, "part": "all"} for block in blocks]
        write[f"{stream}/statistics/flags"] = _rows("flags", rows)
        rows = [
            {
                "condition": condition,
                "learning_rate": rate,
                "block": block,
                "chosen": rate == _rate(condition),
            }
            for condition in CONDITIONS
            for rate in (0.001, 0.002)
            for block in ("tuning-1", "tuning-2")
        ]
        write[f"{stream}/statistics/frontier"] = _rows("frontier", rows)
        rows = [
            {"condition": condition, "block": block, "position": j, "task": f"task{j}", "stop": "steps"}
            for condition in CONDITIONS
            for block in blocks
            for j in range(1, 7)
        ]
        write[f"{stream}/tables/runs"] = _rows("runs", rows)
        rows = [
            {"topology": "sparse_2of4", "block": block, "pattern": "2:4", "weights": 2304, "nonzeros": 1152}
            | {"density": 0.5, "matrix": f"layers.{layer}"}
            for block in blocks
            for layer in range(4)
        ]
        write[f"{stream}/tables/densities"] = _rows("densities", rows)
        rows = [
            {"stream": stream, "block": b, "position": j, "task": f"task{(j + int(b)) % 6}"}
            for b in blocks
            for j in range(1, 7)
        ]
        write[f"{stream}/orders"] = pandas.DataFrame(rows)
        for name in facts["figures"]:
            for form in ("svg", "pdf", "png"):
                path = root / stream / "figures" / f"{name}.{form}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(SVG)
            for table in registry.load("figures", name).tables:
                write.setdefault(f"{stream}/{table}", pandas.DataFrame({"condition": []}))
    pairs = [(stream, condition) for stream in streams for condition in CONDITIONS]
    write["budget"] = pandas.DataFrame([_cost(*pair) for pair in pairs])
    store = {"run": "results/store/runs/x-0123abcd", "scores": "results/store/scores/x-4567cdef"}
    cells = [{"stream": s, "condition": c, "block": b} | store for s, c in pairs for b in blocks]
    write["index"] = pandas.DataFrame(cells)
    for name, frame in write.items():
        tables.write(root / f"{name}.csv", frame)
    return root


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="245pt" height="160pt" viewBox="0 0 245 160">'
    '<rect width="245" height="160" fill="#fff"/><text x="20" y="80">figure</text></svg>\n'
)
_WORDS = {
    "role": "primary",
    "scale": "raw",
    "unit": "block",
    "at": "learning",
    "estimator": "mean",
    "part": "all",
}
_WORDS |= {
    "left_out": "block",
    "which": "1",
    "component": "block",
    "source": "planning",
    "quantity": "learning",
}
_WORDS |= {"kind": "order", "what": "order of block 3", "planned": "a b c", "run": "b a c", "why": "why not"}
_WORDS |= {"gate_passed": "true", "passed": "true", "primary": "true", "bases": "one per block"}
_WORDS |= {
    "exact_reaches": "true",
    "skewed": "false",
    "p_source": "t",
    "stream": "people",
    "note": "",
    "expected": "0",
}
_WORDS |= {"plus": "sparse", "minus": "unlocked", "condition": "sparse", "condition_or_contrast": "sparse"}
_NUMBERS = {"n": 10, "mean": -0.04, "sd": 0.02, "lower": -0.06, "upper": -0.02, "level": 0.05, "margin": 0.05}
_NUMBERS |= {
    "p": 0.0004,
    "learning_lower": -0.02,
    "learning_difference": -0.001,
    "blocks_for_effect": 8,
    "tests": 8,
}


def _rows(name, rows) -> pandas.DataFrame:
    """A table with all its columns: given values, else a word or a number that suits the column."""
    table, text = tables.every()[name], tables.text_columns()
    filled = [
        {
            column: row.get(column, _WORDS.get(column, "" if column in text else _NUMBERS.get(column, 0.1)))
            for column in table.names
        }
        for row in rows
    ]
    return table.frame(filled)


def _contrasts(*metrics):
    return [
        {"contrast": c["name"], "estimand": c["estimand"], "metric": metric}
        | {"plus": " + ".join(c["plus"]), "minus": " + ".join(c["minus"])}
        for c in CONTRASTS
        for metric in metrics
    ]


# numbers of a contrast whose gate failed, which stand in no other row
SILENT = {
    "mean": -0.0777,
    "lower": -0.0888,
    "upper": -0.0666,
    "p": 0.0123,
    "sign_flip_p": 0.0234,
    "hedges_g": -3.21,
}


def _gates(contrasts):
    """Of same_shape the gate failed in contrasts.csv; of lora_interaction the claim's own gate did."""
    failed = contrasts.contrast == "same_shape"
    failed &= contrasts.metric == "forward_transfer"  # claims rest on its forgetting
    contrasts.loc[failed, "gate_passed"] = "false"
    contrasts.loc[failed, list(SILENT)] = list(SILENT.values())
    asked = (contrasts.contrast == "lora_interaction") & (contrasts.metric == "forgetting")
    contrasts.loc[asked, list(SILENT)] = list(SILENT.values())
    contrasts.loc[contrasts.minus == "", "gate_passed"] = "true"
    return contrasts


def _rate(condition):
    return 0.001 if condition == "unlocked" else 0.002


def _cost(stream, condition):
    matched = condition.startswith("matched")
    replay = condition.endswith("replay")
    return {
        "stream": stream,
        "condition": condition,
        "topology": "sparse_2of4" if condition.startswith(("sparse", "unlocked")) else "dense",
        "parameters": 123456,
        "prunable": 92160,
        "nonzeros": 46080,
        "density": 0.5,
        "trained": 46080,
        "training_theoretical": 4e5,
        "training_executed": 6e5,
        "tokens_per_run": 184320,
        "buffer_tokens": 1024 * replay,
        "buffer_bytes": 4096 * replay,
        "matched_to": "sparse" if matched else "",
        "matched_on": "flops" if matched else "",
        "matched_error": 0.004 if matched else "",
    }
