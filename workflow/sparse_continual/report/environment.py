"""The machines, times, package versions and commits of a study. No other section of the report mentions them."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sparse_continual import files, registry
from sparse_continual.identity import sha256
from sparse_continual.integrity import PROVENANCE


def gather(runs: list, lock) -> dict:
    """Facts of the environment that writes the report, and of the jobs that trained the runs.

    runs: paths of the study's run.json files, with `provenance.json` beside each. lock: path of envs/lock.txt.

    Returns {versions: {name: version}, differences: [{name, version, locked}] of the packages that are installed in
    another version than `lock` has, machines: [{device, processor, threads, runs, seconds}], code: [{commit, digest,
    runs}] with the SHA-256 of the uncommitted changes ("" for none), diffs: {digest: text}}. `commit` is "" for runs
    that were trained outside a git checkout.
    """
    machines: dict = {}
    code: dict = {}
    diffs: dict = {}
    for path in runs:
        run = files.read_json(path)
        key = tuple(str(run["machine"].get(name, "")) for name in ("device", "processor", "threads"))
        count, seconds = machines.get(key, (0, 0.0))
        machines[key] = (count + 1, seconds + run["seconds"])
        commit, diff = _checkout(Path(path).parent / PROVENANCE)
        digest = sha256(diff) if diff else ""
        diffs |= {digest: diff} if diff else {}
        code[commit, digest] = code.get((commit, digest), 0) + 1
    return {
        "versions": registry.by_name("provenance").versions(),
        "differences": _differences(lock),
        "machines": [
            dict(zip(("device", "processor", "threads"), key, strict=True))
            | {"runs": n, "seconds": round(s, 1)}
            for key, (n, s) in sorted(machines.items())
        ],
        "code": [
            {"commit": commit, "digest": digest, "runs": n} for (commit, digest), n in sorted(code.items())
        ],
        "diffs": diffs,
    }


def _checkout(provenance: Path) -> tuple[str, str]:
    """(commit, diff) that a job recorded; empty texts if it recorded none, or its provenance is missing."""
    if not provenance.is_file():
        return "", ""
    facts = files.read_json(provenance)
    return facts.get("commit") or "", facts.get("diff") or ""


def _differences(lock) -> list[dict]:
    """Installed packages in another version than the lock file's; suffixes such as +cpu are ignored."""
    differences = []
    for line in Path(lock).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, locked = line.split("==")
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if installed.split("+")[0] != locked:
            differences.append({"name": name, "version": installed, "locked": locked})
    return differences
