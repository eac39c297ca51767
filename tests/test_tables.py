"""Each stage declares its tables once: a new column, table or secondary outcome stands in few places."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from sparse_continual import code, registry, tables

ROOT = Path(__file__).resolve().parents[1]


def test_tables_and_columns_are_declared_once():
    stages = registry.packages_with("tables")
    assert stages == ["pruning", "runs", "scores", "statistics", "streams", "verdicts"]
    declared = [table for stage in stages for table in tables.declared(registry.by_name(f"{stage}.tables"))]
    assert len({table.name for table in declared}) == len(declared) == len(tables.every())
    for table in declared:
        assert len(set(table.names)) == len(table.names), table.name


@pytest.mark.parametrize("script", ["train_condition", "tune_condition", "relearn_tasks"])
def test_no_declaration_of_a_table_is_a_reason_to_train_again(script):
    closure = code.closure(str(ROOT / "scripts" / "runs" / f"{script}.py"))
    assert not [path for path in closure if path.name == "tables.py"]


def test_text_is_read_as_written_and_numbers_as_numbers(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("condition,block,score\nNA,01,0.5\nnan,,\n")
    frame = tables.read(path)
    assert list(frame.condition) == ["NA", "nan"] and list(frame.block) == ["01", ""]
    assert frame.score[0] == 0.5 and pandas.isna(frame.score[1])


def copied(folder, *edits):
    """A copy of the package in `folder`; edits: (file, text, what replaces it); a text of None: a new file."""
    package = folder / "sparse_continual"
    shutil.copytree(code.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in edits:
        path = package / name
        if old is not None:
            text = path.read_text(encoding="utf-8")
            assert text.count(old) == 1, (name, old)
            new = text.replace(old, new)
        path.write_text(new, encoding="utf-8")
    return folder


def answer(folder, program):
    """What the program prints, as JSON, with the package in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={"PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


COLUMN = """
import json, sys
import pandas
import sparse_continual
from sparse_continual import tables
from sparse_continual.report.words import Words
from sparse_continual.verdicts.judge import judge

assert sparse_continual.__file__.startswith(sys.argv[1])
claim = {"name": "c", "rule": "untested", "role": "exploratory", "figure": "forest"}
settings = {"contrasts": [], "level": 0.05, "learning_margin": 0.05, "bases": {"1": "1"}}
settings |= {"phase": "demonstration", "registered": None, "stale": (), "collapsed": {}}
table = tables.every()["claims"]
tables.write("claims.csv", table.frame(judge([claim], {}, settings)))
read = tables.read("claims.csv")
pandas.read_csv("claims.csv", dtype=str).assign(grade="007").to_csv("graded.csv", index=False)
print(json.dumps({
    "header": list(read.columns)[-1],
    "empty": read.grade[0],
    "text": tables.read("graded.csv").grade[0],
    "words": [Words(language).of_language(table.columns[-1]) for language in ("en", "zh")],
}))
"""
LAST = "        NOTE,\n    ),\n)\nPOWER"
GRADE = '        Column("grade", text=True, en="grade of the claim", zh="主张的等级"),\n'


def test_a_new_column_stands_in_one_place(tmp_path):
    folder = copied(tmp_path, ("verdicts/tables.py", LAST, LAST.replace("    ),", GRADE + "    ),", 1)))
    assert answer(folder, COLUMN) == {
        "header": "grade",
        "empty": "",
        "text": "007",
        "words": ["grade of the claim", "主张的等级"],
    }


TABLE = """
EFFORT = Table(
    "effort",
    TABLES,
    (CONDITION, BLOCK, Column("spent", en="steps to the goal", zh="达标所需步数")),
    asked=lambda study: "effort" in study["secondary"],
)
SECONDARY = (SAVINGS, EFFORT)
"""
METRIC = '''
@metric(
    better="less",
    needs="effort",
    columns=("spent",),
    en=("effort", "mean steps to the goal"),
    zh=("所费", "达标所需的平均步数"),
)
def effort(spent) -> float:
    """Mean of spent."""
    return float(np.mean(spent))


'''
SCHEMA = (
    "          effort: {type: object, additionalProperties: false, properties: {rows: {type: integer}}}\n"
)
OUTCOME = """
import json, sys
import pandas
import yaml
import sparse_continual
from sparse_continual.budgets import demand, resources
from sparse_continual.errors import ConfigError
from sparse_continual.statistics.metric_table import metric_table
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study
from sparse_continual.verdicts import claims
from sparse_continual.verdicts.deviations import _beside

assert sparse_continual.__file__.startswith(sys.argv[1])


def study(**own):
    config = yaml.safe_load(open("config.yaml"))
    config["study"] |= {"conditions": ["dense", "sparse"], "contrasts": [], **own}
    config["study"].pop("claims", None)
    return Study(checked(config))


def steps(study):
    return [row["asked_steps"] for row in demand.priced(study, "people")]


without, asked = study(secondary={}), study(secondary={"effort": {"rows": 3}})
effort = asked.secondary("people")[0][2]
try:
    study(secondary={"effort": {"rows": 3}}, keep_weights="none")
except ConfigError as error:
    refused = str(error)
rows = pandas.DataFrame({"condition": "dense", "block": "1", "spent": [2, 6]})
values = metric_table([], secondary={"effort": rows})
claim = {"name": "c", "role": "exploratory", "rule": "superiority", "metric": "effort", "contrast": "x"}
changes = [{"kind": "secondary", "what": what} for what in ("effort.rows", "savings.steps")]
print(json.dumps({
    "measured": sorted(set(asked.measured()) - set(without.measured())),
    "cells": [len(without.secondary("people")), len(asked.secondary("people"))],
    "steps": [after - before for after, before in zip(steps(asked), steps(without))],
    "hours": resources.planned_hours(asked, effort) > 0,
    "refused": refused,
    "values": values[values.metric == "effort"].value.tolist(),
    "claim": claims._metric_mistakes(claim, {}, without.study),
    "beside": [_beside(change, "effort") for change in changes],
}))
"""


def test_a_new_secondary_outcome_stands_in_four_files_and_its_rule(tmp_path):
    schema = "          calibrated_options: {type: boolean"
    folder = copied(
        tmp_path,
        ("runs/tables.py", "SECONDARY = (SAVINGS,)\n", TABLE),
        ("runs/effort.py", None, "def steps(settings, tasks):\n    return tasks * settings['rows']\n"),
        ("statistics/metrics.py", "# Indexes over METRICS", METRIC + "# Indexes over METRICS"),
        ("schemas/config.schema.yaml", schema, SCHEMA + schema),
    )
    shutil.copy(ROOT / "config.yaml", folder)
    found = answer(folder, OUTCOME)
    assert "study.secondary.effort: found with keep_weights: none, expected all or last" in found.pop(
        "refused"
    )
    assert found.pop("claim") == [
        "c.metric: found 'effort', which this study does not measure; set study.secondary.effort"
    ]
    conditions, blocks, tasks = 2, 6, 6
    assert found == {
        "measured": ["effort"],
        "cells": [0, conditions * blocks],
        "steps": [blocks * tasks * 3] * conditions,
        "hours": True,
        "values": [4.0],
        "beside": [True, False],
    }
