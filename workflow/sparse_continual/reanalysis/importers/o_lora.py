"""O-LoRA (cmnfriend): its folder `outputs`, {k}-{task}/all_results.json, of a whole order.

From its repository at 07117e1 (2024-06), src/run_uie_lora.py and logs_and_outputs/: after task k the tasks 1 .. k are
predicted, and all_results.json (or predict_results.json) holds `predict_exact_match_for_{dataset}` in percent. So R has
only its lower triangle. `predict_exact_match` itself is an average over examples, not over tasks, and is not read; the
folders' names distinguish the keys of groups of datasets (TC, SC, NLI). Training without prediction leaves a file too,
without these keys: then scores are missing, as in its own order1_seqlora after task 3.

predict_results.json is a part of all_results.json (save_metrics of transformers): if both exist, they must agree.
Only the folder's name gives a task's place. So two folders with one number are refused: one may be a backup or belong
to another order, and nothing shows which one belongs to the run.
"""

import os
import re
from pathlib import Path

from sparse_continual.errors import UserError
from sparse_continual.files import read_json
from sparse_continual.reanalysis.foreign import Foreign, entries_of, from_cells
from sparse_continual.reanalysis.importer import Importer

FILES = ("all_results.json", "predict_results.json")
EXPECTED = "expected folders <k>-<task> with all_results.json"
PREFIX = "predict_exact_match_for_"
_FOLDER = re.compile(r"(\d+)-(.+)$")


def read(path) -> Foreign:
    """The matrix of a folder of O-LoRA's outputs. Raises UserError naming a missing or unknown file."""
    path, folders = Path(path), {}
    for folder in entries_of(path, "no outputs of O-LoRA", EXPECTED):
        match = _FOLDER.match(folder.name)
        if not match or not folder.is_dir():
            continue
        k = int(match[1])
        if k in folders:
            raise UserError(
                f"{path}: two folders of task {k}, {folders[k][1].name} and {folder.name}; expected one. Move the one"
                " that is not of this run elsewhere"
            )
        # as JSON writes it, in a locale without UTF-8 too
        folders[k] = os.fsencode(match[2]).decode("utf-8", "surrogateescape"), folder
    if not folders:
        raise UserError(f"{path}: no outputs of O-LoRA; {EXPECTED}")
    if sorted(folders) != list(range(1, len(folders) + 1)):
        raise UserError(f"{path}: outputs of tasks {sorted(folders)}, expected those of all from 1 on")
    tasks = [folders[k][0] for k in sorted(folders)]
    cells = {}
    for k in sorted(folders):
        scores = _results(folders[k][1])
        for position, task in enumerate(tasks[:k], 1):
            if PREFIX + task in scores:
                cells[k, position] = scores[PREFIX + task]
    if not cells:
        raise UserError(f"{path}: no {PREFIX}{tasks[0]} in any of {', '.join(FILES)}; expected predictions")
    notes = ["O-LoRA scores nothing before the stream and no task before it is trained"]
    return from_cells(cells, tasks, path, notes, full=100.0)


def _results(folder: Path) -> dict:
    """The results after one task; {} if its prediction was not run, or left no file."""
    results = {}
    for file in entries_of(folder, "no results of O-LoRA", EXPECTED):
        if file.name not in FILES:
            continue
        content = read_json(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: not results of O-LoRA; expected {PREFIX}<task> of every task so far")
        for key, score in content.items():
            if key.startswith(PREFIX) and key in results and results[key] != score:
                raise UserError(
                    f"{file}: {key} is {score}, and {results[key]} in {FILES[0]}; expected files of one run."
                    " Remove the older one"
                )
            results[key] = score
    return results


IMPORTER = Importer(read, expected=EXPECTED)
