"""Uses a new variant of every kind, as a study and its jobs do; prints what they made as JSON.

    python use.py CONFIG FOLDER

The package that is imported has the files of this folder in it; CONFIG is the config to change.
"""

import json
import sys
from pathlib import Path

import made_up
import pandas

from sparse_continual import code, registry, tables
from sparse_continual.budgets.plan import plan_text
from sparse_continual.budgets.planned import planned
from sparse_continual.errors import ConfigError, UserError
from sparse_continual.figures import _draw
from sparse_continual.models.load import load_tokenizer
from sparse_continual.pruning.check import variants
from sparse_continual.pruning.make import make_topology
from sparse_continual.reanalysis.reanalysis import reanalyse
from sparse_continual.report import html_table, render
from sparse_continual.streams.build import build_stream
from sparse_continual.study.config import checked, merged
from sparse_continual.study.study import Study

CONFIG, FOLDER = map(Path, sys.argv[1:])
ODD = {"method": "late_columns", "pattern": "unstructured", "sparsity": 0.5}
CHANGES = {
    "bases": {"plain": {"source": "untrained"}},
    "topologies": {"odd": {**ODD, "allocation": {"name": "deeper", "base": 1}}},
    "streams": {"shops": {"source": "trades", "items": 5}},
    "conditions": {
        "dense": {"base": "plain", "topology": "dense", "mechanism": "finetune"},
        "odd": {"base": "plain", "topology": "odd", "mechanism": "finetune"},
    },
    "study": {"streams": ["shops"], "conditions": ["dense", "odd"], "contrasts": [], "claims": None},
    "figures": {"first_scores": {}},
}
COMPARISON = """
level: 0.05
comparisons:
  - name: ours
    metric: average_accuracy
    blocks: [one, two]
    plus: {method: a, importer: rows, logs: [a.txt, b.txt], source: here, confirmed: true}
    minus: {method: b, importer: rows, logs: [c.txt, d.txt], source: here, confirmed: true}
"""


def refusal(key, settings) -> str:
    section, name = key.split(".")
    changes = {**CHANGES, section: {name: {**CHANGES[section][name], **settings}}}
    try:
        Study(checked(merged([CONFIG], changes)))
    except (ConfigError, UserError) as error:
        return str(error)


def in_a_study() -> dict:
    study = Study(checked(merged([CONFIG], CHANGES)))
    topology = study.topology("odd", "1")
    return {
        "plan": plan_text(study),
        "bits": study.bits("shops"),
        "variants": variants(topology.settings["topology"]),
        "code": code.digest(*variants(topology.settings["topology"])),
        "refused": [
            refusal("bases.plain", {"width": 12}),
            refusal("bases.plain", {"widht": 8}),
            refusal("topologies.odd", {"allocation": {"name": "deeper", "base": 0}}),
            refusal("streams.shops", {"items": 0}),
        ],
    }


def in_jobs() -> dict:
    study = Study(checked(merged([CONFIG], CHANGES)))
    settings = study.model("odd", "1").settings
    model = registry.load("bases.sources", "untrained").obtain(settings, 0, FOLDER / "model", [])
    tokenizer = load_tokenizer(FOLDER / "model")
    stream = study.stream("shops", "odd", "1").settings
    tasks = build_stream(stream["stream"], stream["seed"], tokenizer, FOLDER / "tasks")
    made = study.topology("odd", "1").settings
    expected = planned(made["topology"], model["shape"])
    _, densities = make_topology(made, FOLDER / "model", [], FOLDER / "odd", made["seed"], planned=expected)
    return {"tasks": [task.name for task in tasks], "densities": densities}


def in_the_report() -> dict:
    facts = made_up.facts()
    facts["figures"] = {name: {"title": f"Title of {name}"} for name in ("stream_curves", "first_scores")}
    root = made_up.results(FOLDER / "results", facts)
    scores = pandas.DataFrame({"condition": ["a", "b"], "after": [0, 0], "score": [0.25, 0.5]})
    tables.write(FOLDER / "scores.csv", scores)
    svg = root / "people" / "figures" / "first_scores.svg"
    _draw.draw("first_scores", [FOLDER / "scores.csv"], {"title": "Before", "stream": "people"}, [svg])
    outputs = [FOLDER / name for name in ("page.html", "findings.md", "primary.tex")]
    render.write(root, facts, *outputs)
    section = outputs[0].read_text().split('<section id="curves">')[1].split("</section>")[0]
    return {"order": html_table.in_order(facts["figures"]), "curves": section, "svg": svg.read_text()}


def in_a_reanalysis() -> str:
    for name, last in {"a": "50,80", "b": "40,60", "c": "20,60", "d": "10,50"}.items():
        (FOLDER / f"{name}.txt").write_text(f"90\n{last}\n")
    (FOLDER / "comparison.yaml").write_text(COMPARISON)
    return reanalyse(FOLDER / "comparison.yaml")


if __name__ == "__main__":
    found = {"study": in_a_study(), "jobs": in_jobs(), "report": in_the_report(), "text": in_a_reanalysis()}
    json.dump(found, sys.stdout)
