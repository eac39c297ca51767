"""Corrupt a finished tiny study, one file at a time, and see what the job does that reads the file.

python benchmarks/faults.py FOLDER [--number 160] [--seed 0] [--table benchmarks/faults.md]

The first call runs `tests/workflow/tiny.yaml` in FOLDER (about two minutes) with a copy of this checkout, whose frame
of scripts also saves every job. Later calls take the study that is there. Each corruption is made in a copy, and then
its readers run in processes of their own, without Snakemake: a job verifies what it reads by itself. A deleted output
of a rule is given to `snakemake -n` first: where it plans the rule again, the file is made before anyone reads it.

Outcomes: refused (one line that names the file and the remedy), remade, no reader, no effect (the reader ends with 0
and writes the same bytes), silent (it ends with 0 and writes other bytes), traceback, other (it fails without such a
line).
"""

import argparse
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
OPENING = "    log = open(snakemake.log[0]"
SAVING = """    import pickle, uuid
    with open(os.path.join(os.environ["FAULTS_JOBS"], uuid.uuid4().hex), "wb") as handle:
        pickle.dump(snakemake, handle)
"""
TIMES = ("seconds", "finished", "machine")  # of run.json: other ones are no other result
READERS = 2  # of one corruption that are run


def make(folder: Path) -> None:
    """Run the tiny study in `folder`/study, and save its jobs in `folder`/jobs."""
    from driver import TINY, checked_out, command, tiny

    folder.mkdir(parents=True, exist_ok=True)
    checkout = folder / "checkout"
    checkout.mkdir()
    checked_out(checkout)
    frame = checkout / "workflow" / "sparse_continual" / "script.py"
    text = frame.read_text()
    if text.count(OPENING) != 1:
        raise SystemExit(f"{frame}: found no line {OPENING!r}, before which jobs are saved; change OPENING")
    frame.write_text(text.replace(OPENING, SAVING + OPENING))
    for name in ("study", "jobs"):
        (folder / name).mkdir()
    line, environment = command(checkout, folder / "study", *tiny())
    done = subprocess.run(
        line, env=environment | {"FAULTS_JOBS": str(folder / "jobs")}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{TINY}: {done.stderr[-3000:]}")
    (folder / "finished").touch()


def kind_of(name: str) -> str:
    """A file's name without digests and numbers of blocks: files of one kind have the same readers."""
    name = re.sub(r"/[^/]+-[0-9a-f]{8}/", "/*/", name)
    return re.sub(
        r"after_\d+", "after_*", re.sub(r"figures/[a-z_]+\.|draw_figure-[a-z_]+\.", "figures/*.", name)
    )


# corruptions: (path, random generator) -> False where the file has nothing of the kind


def flip(path, chance):
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    if not data:
        return False
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def digit(path, chance):
    """Change one digit."""
    data = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    if not places or path.suffix not in (".csv", ".json", ".svg", ".md", ".tex"):
        return False
    place = chance.choice(places)
    data[place] = ord("0") + (data[place] - ord("0") + chance.randint(1, 9)) % 10
    path.write_bytes(data)


def truncate(path, chance):
    """Keep the first half."""
    data = path.read_bytes()
    if not data:
        return False
    path.write_bytes(data[: len(data) // 2])


def drop_rows(path, chance):
    """Drop the last two rows."""
    lines = path.read_bytes().splitlines(keepends=True)
    if path.suffix != ".csv" or len(lines) < 3:
        return False
    path.write_bytes(b"".join(lines[:-2]))


def swap(path, chance):
    """Put a sibling artifact's file of the same name here, or another file of the folder."""
    above = (
        path.parents[2] if "model" in path.parts or "weights" in path.parts or "tasks" in path.parts else None
    )
    places = [*(above or path.parents[1]).glob(f"*/**/{path.name}"), *path.parent.glob(f"*{path.suffix}")]
    others = [
        other for other in sorted(set(places)) if other != path and other.read_bytes() != path.read_bytes()
    ]
    if not others:
        return False
    shutil.copyfile(chance.choice(others), path)


def edit(path, chance):
    """Change one value of a JSON object, or exchange two rows' cells of a CSV file."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        content = content[0] if isinstance(content, list) and content else content
        if not isinstance(content, dict) or not content:
            return False
        key = chance.choice(sorted(content))
        whole = json.loads(path.read_text())
        (whole[0] if isinstance(whole, list) else whole)[key] = chance.choice([0, 1, "other", None, []])
        if whole == json.loads(path.read_text()):
            return False
        path.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
        return None
    lines = path.read_text().splitlines() if path.suffix == ".csv" else []
    pairs = [(a, b) for a in range(1, len(lines)) for b in range(a) if b and lines[a] != lines[b]]
    if not pairs:
        return False
    a, b = chance.choice(pairs[:5000])
    first, second = lines[a].split(","), lines[b].split(",")
    columns = [i for i in range(min(len(first), len(second))) if first[i] != second[i]]
    column = chance.choice(columns)
    first[column], second[column] = second[column], first[column]
    lines[a], lines[b] = ",".join(first), ",".join(second)
    path.write_text("\n".join(lines) + "\n")


def delete(path, chance):
    """Delete the file."""
    path.unlink()


def old_time(path, chance):
    """Set the modification time back by 30 days."""
    now = path.stat()
    os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns - 30 * 86400 * 10**9))


def stray(path, chance):
    """Put a copy of the file beside it under another name."""
    shutil.copyfile(path, path.with_name(f"other_{path.name}"))


OPERATIONS = (flip, digit, truncate, drop_rows, swap, edit, delete, old_time, stray)
SLOW, SHARE = (
    (delete, old_time, stray),
    0.2,
)  # whole jobs run, or Snakemake starts: this share of the kinds is tried


class Faults:
    """A finished study, its jobs, and a copy that is corrupted and restored."""

    def __init__(self, folder: Path):
        self.folder, self.study, self.work = folder, folder / "study", folder / "work"
        self.jobs = [pickle.loads(path.read_bytes()) for path in sorted((folder / "jobs").iterdir())]
        self.writers = {str(path): job for job in self.jobs for path in job.output}
        self.restore()

    def restore(self) -> None:
        """Make the copy equal to the study."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.study, self.work, symlinks=True, ignore=shutil.ignore_patterns("conda*", "log"))

    def files(self) -> list[str]:
        """Every file of the study's results, but for logs."""
        paths = (path for path in (self.study / "results").rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.study).as_posix() for path in paths)
        return [name for name in names if "/logs/" not in name and "/.digests/" not in name]

    def readers(self, name: str) -> list:
        """Jobs that read a file: by name, or through the manifest of the folder that it lies in."""
        folders = {str(parent) for parent in Path(name).parents}
        if Path(name).name == "provenance.json":
            return []
        return [
            job
            for job in self.jobs
            for given in [set(map(str, job.input))]
            if name in given
            or any(f"{folder}/manifest.json" in given for folder in folders)
            or (
                Path(name).name == "manifest.json" and any(Path(g).parent == Path(name).parent for g in given)
            )
        ]

    def corrupt(self, name: str, operation, kept: bool, chance) -> bool:
        """Corrupt the copy's file, and keep its modification time or not. Returns whether there was something to do."""
        path = self.work / name
        before = path.stat()
        if operation(path, chance) is False:
            return False
        if kept and path.exists() and operation is not old_time:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return True

    def outcome(self, name: str, operation, chance) -> tuple[str, str]:
        """(outcome, the line or the rule) of a corrupted file."""
        if operation is delete and name in self.writers:
            planned = self.planned_again(name)
            if planned[0] != "other":
                return planned
        readers = self.readers(name)
        if not readers:
            return "no reader", ""
        results = [self.run(job, name) for job in chance.sample(readers, min(READERS, len(readers)))]
        order = ("traceback", "silent", "other", "no effect", "refused")
        return min(results, key=lambda result: order.index(result[0]))

    def planned_again(self, name: str) -> tuple[str, str]:
        """Whether Snakemake plans the rule of a deleted output when a reader of it must run."""
        from driver import command, planned, tiny

        rule, readers = self.writers[name].rule, self.readers(name)
        wanted = [str(readers[0].output[0]), "--forcerun", readers[0].rule] if readers else [name]
        line, environment = command(self.folder / "checkout", self.work, "-n", *tiny(*wanted))
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        if "Traceback" in done.stderr:
            return "traceback", done.stderr[-200:]
        again = {job[0] for job in planned(done)} if done.returncode == 0 else set()
        return ("remade", rule) if rule in again else ("other", f"{rule} is not planned")

    def run(self, job, name: str) -> tuple[str, str]:
        """Run a job in a forked process in the copy, and compare what it wrote."""
        script = next(
            (self.folder / "checkout" / "scripts").glob(
                f"*/{job.rule.replace('download_model', 'obtain_model')}.py"
            )
        )
        process = os.fork()
        if not process:
            status = 70
            try:
                os.chdir(self.work)
                exec(
                    compile(script.read_text(), str(script), "exec"),
                    {"snakemake": job, "__name__": "__main__"},
                )
                status = 0
            except SystemExit as end:
                print(end, file=sys.stderr, flush=True)
                status = 1 if end.code else 0
            except BaseException:
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        printed = (self.work / job.log[0]).read_text(errors="replace")
        lines = [line for line in printed.splitlines() if line.strip()]
        if "Traceback" in printed:
            return "traceback", f"{job.rule}: {lines[-1][:150]}"
        if status:
            line = lines[-1] if lines else ""
            named = any(part in line for part in (name, Path(name).parent.as_posix(), Path(name).name))
            good = named and "delete" in line and "run again" in line
            return "refused" if good else "other", f"{job.rule}: {line}"
        return ("no effect" if self.same(job) else "silent"), job.rule

    def same(self, job) -> bool:
        """Whether what a job wrote is what it wrote in the study."""
        for output in job.output:
            if Path(output).name == "manifest.json":
                pairs = [path.relative_to(self.work) for path in (self.work / output).parent.rglob("*")]
            else:
                pairs = [Path(output)]
            for path in pairs:
                if (
                    "manifest" in str(path)
                    or path.name == "provenance.json"
                    or path.name.startswith("other_")
                ):
                    continue
                if (self.work / path).is_file() and _content(self.work / path) != _content(self.study / path):
                    return False
        return True


def _content(path: Path):
    if not path.is_file():
        return None
    if path.name == "run.json":
        content = json.loads(path.read_text())
        for task in [content, *content["tasks"]]:
            for key in TIMES:
                task.pop(key, None)
        return content
    return path.read_bytes()


def attempts(names: list[str], number: int, seed: int) -> list[tuple]:
    """Corruptions (file, operation, mtime kept) in random order, twice `number` at most.

    Every operation is tried on every kind of file once, a slow operation on a share of the kinds. Some operations do
    not apply to a file, so more than `number` are given.
    """
    chance = random.Random(seed)
    kinds: dict = {}
    for name in names:
        kinds.setdefault(kind_of(name), []).append(name)
    every = [
        (chance.choice(kinds[kind]), operation)
        for kind in sorted(kinds)
        for operation in OPERATIONS
        if operation not in SLOW or chance.random() < SHARE
    ]
    chance.shuffle(every)
    return [(name, operation, chance.random() < 0.5) for name, operation in every][: number * 2]


def try_all(folder: Path, number: int, seed: int, seconds: float = 1e9) -> list[tuple]:
    """Rows (operation, mtime, file, outcome, line) of up to `number` corruptions within `seconds`."""
    faults, rows, began = Faults(folder), [], time.monotonic()
    import matplotlib  # noqa: F401 - imported once, for all forked jobs
    import pandas  # noqa: F401
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    for name, operation, kept in attempts(faults.files(), number, seed):
        if len(rows) == number or time.monotonic() - began > seconds:
            break
        chance = random.Random(f"{seed} {name} {operation.__name__}")
        if not faults.corrupt(name, operation, kept, chance):
            continue
        outcome, line = faults.outcome(name, operation, chance)
        rows.append((operation.__name__, "kept" if kept else "new", name, outcome, line))
        print(*rows[-1], sep=" | ", flush=True)
        faults.restore()
    return rows


def as_table(rows: list[tuple], seed: int) -> str:
    """The rows as Markdown, after their counts."""
    counts = Counter(row[3] for row in rows)
    outcomes = ("refused", "remade", "no reader", "no effect", "silent", "traceback", "other")
    lines = [
        "# Corrupted files of a finished study",
        "",
        f"`python benchmarks/faults.py FOLDER --number {len(rows)} --seed {seed}`: {len(rows)} corruptions of the tiny",
        "test study, one at a time; outcomes as the script describes them.",
        "",
        "| outcome | corruptions |",
        "|---|---|",
        *(f"| {outcome} | {counts[outcome]} |" for outcome in outcomes),
        "",
        "| file | operation | modification time | outcome |",
        "|---|---|---|---|",
        *sorted(
            f"| {kind_of(name)} | {operation} | {kept} | {outcome} |"
            for operation, kept, name, outcome, _ in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the study and its copy lie")
    parser.add_argument("--number", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if not (folder / "finished").exists():
        make(folder)
    library = str(folder / "checkout" / "workflow")
    if os.environ.get("FAULTS_INSIDE") != library:  # the jobs must run the code that the study was made with
        inside = {
            "PYTHONPATH": library,
            "FAULTS_INSIDE": library,
            "FAULTS_JOBS": str(folder / "saved-again"),
            "OMP_NUM_THREADS": "1",
        }
        (folder / "saved-again").mkdir(exist_ok=True)
        return subprocess.run([sys.executable, *sys.argv], env=os.environ | inside).returncode
    rows = try_all(folder, options.number, options.seed, options.seconds)
    text = as_table(rows, options.seed)
    if options.table:
        options.table.write_text(text)
    bad = [row for row in rows if row[3] in ("silent", "traceback", "other")]
    print(*bad, sep="\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
