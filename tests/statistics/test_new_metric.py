"""A new metric is one function in one file: tables, claims, gate, reanalysis and report find it."""

import json
import shutil
import subprocess
import sys

from sparse_continual.code import PACKAGE

NEW = '''
@metric(
    better="less",
    reads=lambda at: at.old & (at.own | at.end),
    ratio=True,
    gate="favoured",
    en=("median loss", "median over old tasks of the score that is lost"),
    zh=("中位损失", "旧任务得分损失的中位数"),
)
def median_loss(R) -> float:
    """Median over j < T of R[j,j] - R[T,j]."""
    return float(np.median(_lost(check(R))))


'''
USE = """
import json, sys
import numpy as np
import sparse_continual
from sparse_continual.reanalysis.foreign import Foreign
from sparse_continual.report.sentences import _estimate
from sparse_continual.report.words import Words
from sparse_continual.statistics import gate, matrices, metric_table
from sparse_continual.statistics.columns import METRICS
from sparse_continual.verdicts import claims

assert sparse_continual.__file__.startswith(sys.argv[1]), sparse_continual.__file__
R = np.array([[0, 0, 0, 0], [.9, 0, 0, 0], [.8, .9, 0, 0], [.7, .8, .9, 0], [.6, .8, .7, .9]])
table = metric_table.metric_table([matrices.Scores("dense", "b1", "all", R, R, -R)])
found = table[(table.metric == "median_loss")].set_index("scale").value.to_dict()
logged = np.eye(5, 4, -1) + (np.arange(5) == 4)[:, None] > 0  # the cells that the metric reads, and no other
values, _ = Foreign(np.where(logged, R, np.nan), list("abcd")).metrics()
arms = {"plus": ["sparse"], "minus": ["dense"], "estimand": "other", "name": "less"}
study = {"contrasts": [arms], "streams": ["s"], "secondary": {}, "references": {}, "conditions": ["sparse", "dense"]}
claim = {"name": "c", "role": "confirmatory", "rule": "superiority", "metric": "median_loss", "contrast": "less"}
lines = claims._metric_mistakes(claim, {"less": arms}, study)
row = {"metric": "median_loss", "mean": -0.1}
print(json.dumps({
    "table": found,
    "reanalysis": values["median_loss"],
    "gate": [gate.favoured("median_loss", sign) for sign in (-1, 1)],
    "claim": lines,
    "meaning": METRICS["median_loss"],
    "sentence": [_estimate(row, arms, Words(language)) for language in ("en", "zh")],
}))
"""


def test_a_metric_is_one_function_in_one_file(tmp_path):
    package = tmp_path / "sparse_continual"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / "statistics" / "metrics.py"
    text, marker = path.read_text(encoding="utf-8"), "# Indexes over METRICS"
    assert text.count(marker) == 1
    path.write_text(text.replace(marker, NEW + marker), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)],
        env={"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # lost on the old tasks: .3, .1, .2
    assert {scale: round(value, 9) for scale, value in found["table"].items()} == {
        "raw": 0.2,
        "corrected": 0.2,
        "bits": -0.2,
    }
    assert round(found["reanalysis"], 9) == 0.2
    assert found["gate"] == ["plus", "minus"]  # a plus side that loses less must have learnt no less
    assert len(found["claim"]) == 1 and "confirmatory" in found["claim"][0]  # a ratio
    assert found["meaning"] == "median over old tasks of the score that is lost"
    assert "median loss" in found["sentence"][0] and "中位损失" in found["sentence"][1]
