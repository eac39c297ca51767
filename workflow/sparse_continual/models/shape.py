"""Shape settings of a base that was not generated here: sizes and FLOPs of the model of its config.json.

Both are counted on transformers' own class (models/architecture.py), for every family. The asking process need not
import torch: another process counts, once for every content of a config.json and release of the libraries. The answers
are kept in the store, each whole or not at all; without write permission there, every process has them counted again.
A process that has imported the libraries counts by itself.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from sparse_continual import code, registry
from sparse_continual.errors import UserError
from sparse_continual.files import read_json, write_json
from sparse_continual.identity import sha256
from sparse_continual.models.load import EXPERTS

FOLDER = "results/store/architectures"  # relative to the working directory, as all results
COUNTER = "models.architecture"  # by name, not by import: it changes only the plan, no result
_answers: dict = {}  # path of an answer -> the answer, in this process


def shape_of(folder, trust_remote_code=False, lengths=()) -> dict:
    """`shape_of_config` of the checkpoint in `folder`; `trust_remote_code` runs its own code."""
    folder = Path(folder)
    config = read_json(folder / "config.json")
    has_code = isinstance(config, dict) and "auto_map" in config
    return shape_of_config(
        config, str(folder / "config.json"), lengths, folder if has_code and trust_remote_code else None
    )


def shape_of_config(config: dict, name="config.json", lengths=(), code_folder=None) -> dict:
    """Shape settings of a parsed Hugging Face `config.json`, called `name` in messages.

    Returns {hidden_size, intermediate_size, layers, heads, kv_heads, vocabulary, tied, head_size if it is not
    hidden_size / heads, family: the model_type, counted}; a number that the config lacks is None. `counted` is
    {parameters: values by group, matrices: name -> [outputs, inputs], flops: {tokens: result of
    `architecture.flops`, or why it is unknown} for every one of `lengths`, the tokens of a row}.

    code_folder: folder of the model's own code, which is then run.

    Raises UserError naming the config if it declares experts to choose from, or if transformers cannot build a causal
    language model of text from it.
    """
    if not isinstance(config, dict):
        raise UserError(f"{name}: found no JSON object, expected a Hugging Face model config")
    for key in EXPERTS:
        if isinstance(config.get(key), int) and config[key] > 1:
            raise UserError(
                f"{name}: {key!r} is {config[key]}, expected a base without experts: a mixture can be pruned by "
                "`sparse_continual.prune` and audited, but a study cannot price it yet"
            )
    suffixes = {str(tokens): f"-{tokens}" for tokens in sorted(set(lengths))}
    place = Path(FOLDER) / _key(config, code_folder)
    paths = {part: place.with_name(f"{place.name}{end}.json") for part, end in {"": "", **suffixes}.items()}
    missing = [part for part, path in paths.items() if not _kept(path)]
    if missing:
        request = {"config": config, "name": name, "code": code_folder and str(code_folder)}
        request |= {"counts": "" in missing, "lengths": [int(part) for part in missing if part]}
        here = _imported()
        counts = _counted_here(request) if here else _counted_elsewhere(request)
        for part in missing:
            answer = counts["flops"][part] if part else counts["counts"]
            _answers[str(paths[part].absolute())] = answer
            if not here:  # a library that was imported before leaves no files there
                _keep(paths[part], answer)
    counts = _answers[str(paths[""].absolute())]
    sizes = dict(counts["sizes"])
    if sizes["head_size"] is None or sizes["head_size"] * (sizes["heads"] or 0) == sizes["hidden_size"]:
        del sizes["head_size"]
    counted = {key: counts[key] for key in ("parameters", "matrices")}
    counted["flops"] = {part: _answers[str(paths[part].absolute())] for part in suffixes}
    return {**sizes, "family": counts["model_type"], "counted": counted}


def _key(config: dict, code_folder) -> str:
    """The name of an answer: a digest of the config, its code, the libraries' releases and the counter."""
    files = sorted(Path(code_folder).glob("*.py")) if code_folder else []
    return sha256(
        {
            "config": json.dumps(config, sort_keys=True),
            "code": {path.name: path.read_text(encoding="utf-8") for path in files},
            "libraries": [version(name) for name in ("transformers", "torch")],
            "counter": code.digest(COUNTER),
        }
    )[:16]


def _kept(path: Path) -> bool:
    """Whether the answer for `path` is in this process, or intact in the file."""
    place = str(path.absolute())
    if place not in _answers:
        try:
            kept = read_json(path)
            if kept["sha256"] == sha256(kept["answer"]):
                _answers[place] = kept["answer"]
        except (UserError, TypeError, KeyError):
            pass
    return place in _answers


def _keep(path: Path, answer) -> None:
    try:
        write_json(path, {"answer": answer, "sha256": sha256(answer)})
    except OSError:  # a folder without write permission: the next process counts again
        pass


def _imported() -> bool:
    """Whether this process has imported the libraries, so that counting is fast."""
    return {"torch", "transformers"} <= sys.modules.keys()


def _counted_here(request: dict) -> dict:
    return registry.by_name(COUNTER).answer(request)


def _counted_elsewhere(request: dict) -> dict:
    """The result of `architecture.answer` from another process. Raises UserError as it does, or if it fails."""
    package_folder = str(Path(code.PACKAGE).parent)
    paths = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", f"{registry.ROOT}.{COUNTER}"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        result = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        reason = (done.stderr.strip() or f"exit status {done.returncode}, without a message").splitlines()[-1]
        raise UserError(
            f"{request['name']}: the process that counts its model failed: {reason:.300}; run "
            f"`{Path(sys.executable).name} -m {registry.ROOT}.{COUNTER} < /dev/null` to see whether torch and "
            "transformers can be imported"
        ) from None
    if "refused" in result:
        raise UserError(result["refused"])
    return result
