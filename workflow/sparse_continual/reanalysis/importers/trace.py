"""TRACE (BeyonderXX): the output folder of its inference, results-{round}-{i}-{task}.json.

From its repository at 462e39f (2024-01), inference/infer_single.py: after round r = 0 .. T - 1 the tasks i = 0 .. r are
answered, and `eval` of each file holds that task's measures. So R has only its lower triangle. The score is the measure
that the paper's tables report for the task (arXiv 2310.06762, section 3); scales differ by task: similarity and SARI
are percent, the rest shares. SARI is a list of one dictionary, because of an extra comma in metrics.py.

Inference adds the files of a round one by one. If the last round lacks its newest task, the run or its inference did
not finish, and the folder is refused. A copy of a file, or a second one of the same round and task, is refused too.
"""

import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.reanalysis.foreign import Foreign, check_score, entries_of, from_cells
from sparse_continual.reanalysis.importer import Importer

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
EXPECTED = "expected files results-<round>-<i>-<task>.json"
_FILE = re.compile(r"results-(\d+)-(\d+)-(.+)\.json$")


def read(path) -> Foreign:
    """The matrix of a folder of TRACE's results. Raises UserError naming a missing or unknown file."""
    path, tasks, cells, files = Path(path), {}, {}, {}
    for file in entries_of(path, "no results of TRACE", EXPECTED):
        match = _FILE.match(file.name)
        if not match:
            continue
        number, i, task = int(match[1]), int(match[2]), match[3]
        if task not in MEASURE:
            raise UserError(
                f"{file}: found task {task}, expected one of {', '.join(MEASURE)}; move a copy elsewhere"
            )
        if tasks.setdefault(i, task) != task:
            raise UserError(
                f"{file}: task {i} is {task}, and {tasks[i]} in another round; expected one stream"
            )
        if i > number:
            raise UserError(f"{file}: task {i} in round {number}; expected only tasks up to the round's")
        if (number, i) in files:
            raise UserError(
                f"{file}: a second file of task {i} in round {number}, beside {files[number, i].name}; expected one."
                " Move the one that is not of this run elsewhere"
            )
        files[number, i] = file
        cells[number + 1, i + 1] = _score(file, task)
    if not files:
        raise UserError(f"{path}: no results of TRACE; {EXPECTED}")
    last = max(number for number, _ in files)
    if last not in tasks:
        begun = ", ".join(file.name for (number, _), file in files.items() if number == last)
        raise UserError(
            f"{path}: round {last} has begun ({begun}), but has no results-{last}-{last}-<task>.json; expected the"
            " results of all its tasks. Finish its inference, or move the files of that round elsewhere"
        )
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
    key, full = MEASURE[task]
    content = read_json(file)
    measures = content.get("eval") if isinstance(content, dict) else None
    score = measures.get(key) if isinstance(measures, dict) else None
    if key == "sari" and isinstance(score, list) and score and isinstance(score[0], dict):
        score = score[0].get("sari")
    if not isinstance(score, int | float) or isinstance(score, bool):
        raise UserError(
            f"{file}: eval has no {key} that is a number; expected the results of TRACE's inference for {task}"
        )
    check_score(f"{file}: {key}", score, full)
    if full > 1 and 0 < score <= 1:
        raise UserError(
            f"{file}: {key} is {score:g}, expected percent, from 0 to 100; multiply a share by 100"
        )
    return score / full


IMPORTER = Importer(read, expected=EXPECTED)
