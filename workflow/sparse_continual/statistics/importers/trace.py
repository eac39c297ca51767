"""TRACE (BeyonderXX): the folder that its inference leaves, results-{round}-{i}-{task}.json.

Read in its repository at 462e39f (2024-01), inference/infer_single.py: after round r = 0 .. T - 1 the tasks i = 0 .. r
are answered, and `eval` of each file holds that task's measures. So R has its lower triangle alone. Taken is the
measure that the paper's tables report for the task (arXiv 2310.06762, section 3); scales differ by task:
similarity and SARI are percent, the rest shares. SARI is a list of one dictionary, by a comma too many in
metrics.py.
"""

import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.statistics.foreign import Foreign, from_cells

MEASURE = {  # task -> (key of its measure, score for all right)
    "C-STANCE": ("accuracy", 1),
    "FOMC": ("accuracy", 1),
    "MeetingBank": ("rouge-L", 1),
    "Papyrus-f": ("F1", 1),
    "Py150": ("similarity", 100),
    "ScienceQA": ("accuracy", 1),
    "NumGLUE-cm": ("accuracy", 1),
    "NumGLUE-ds": ("accuracy", 1),
    "20Minuten": ("sari", 100),
}
_FILE = re.compile(r"results-(\d+)-(\d+)-(.+)\.json$")


def read(path) -> Foreign:
    """The matrix of a folder of TRACE's results. Raises UserError naming what is missing or not known."""
    path, tasks, cells = Path(path), {}, {}
    files = [
        (match, file) for file in sorted(path.glob("results-*.json")) if (match := _FILE.match(file.name))
    ]
    if not files:
        raise UserError(f"{path}: no results of TRACE; expected files results-<round>-<i>-<task>.json")
    for match, file in files:
        number, i, task = int(match[1]), int(match[2]), match[3]
        if tasks.setdefault(i, task) != task:
            raise UserError(
                f"{file}: task {i} is {task}, and {tasks[i]} in another round; expected one stream"
            )
        if i > number:
            raise UserError(f"{file}: task {i} in round {number}; expected only tasks up to the round's")
        cells[number + 1, i + 1] = _score(file, task)
    if sorted(tasks) != list(range(len(tasks))):
        raise UserError(f"{path}: results of tasks {sorted(tasks)}, expected those of all from 0 on")
    notes = [
        "TRACE scores nothing before the stream and no task before it is trained",
        "answers are sampled (temperature .1), which adds noise to every score",
        "measures differ between tasks: "
        + ", ".join(f"{tasks[i]} {MEASURE[tasks[i]][0]}" for i in sorted(tasks)),
    ]
    return from_cells(cells, [tasks[i] for i in sorted(tasks)], path, notes)


def _score(file: Path, task: str) -> float:
    if task not in MEASURE:
        raise UserError(f"{file}: task {task} is none of TRACE; there are {', '.join(MEASURE)}")
    key, full = MEASURE[task]
    found = read_json(file)
    measures = found.get("eval") if isinstance(found, dict) else None
    score = measures.get(key) if isinstance(measures, dict) else None
    if key == "sari" and isinstance(score, list) and score and isinstance(score[0], dict):
        score = score[0].get("sari")
    if not isinstance(score, int | float):
        raise UserError(f"{file}: eval has no {key}; expected the results of TRACE's inference for {task}")
    return score / full
