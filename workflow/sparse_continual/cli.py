"""The command `sparse-continual`: work that a user does once, by hand, outside the workflow.

`sparse-continual register` freezes the design of a confirmatory study before it is run;
`sparse-continual reanalyse` reads published tables with the intervals of this package;
`sparse-continual audit` finds out what kind of sparsity a checkpoint has;
`sparse-continual store` lists entries of the store that no study needs, and deletes them.
"""

import argparse
import io
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from sparse_continual.errors import ConfigError, UserError

NOT_COUNTED_STATUS = 3  # of `audit`


def main(arguments=None) -> int:
    """Run one command and return its exit status. A user's mistake is one line, without a traceback."""
    _write_anything()
    try:
        try:
            output, status = _run(arguments)
        finally:  # for --help too; flushing at exit could not report that the reader closed the pipe (`| head`)
            print(end="", flush=True)
        return _print(output, status)
    except BrokenPipeError:
        _drop_output()
        return 141  # the shell's status of a command that a closed pipe ended


def _write_anything() -> None:
    r"""Write characters that the terminal cannot encode as escapes, such as \xfc.

    Names of tasks and files can hold any character; an undecodable file name even holds half a character.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments) -> tuple[str, int]:
    """The output of a command, and its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ConfigError, UserError) as error:
        print(error, file=sys.stderr)
        return "", 1
    except KeyboardInterrupt:
        return "", 130  # the shell's status of an interrupted command


def _print(output: str, status: int) -> int:
    """Print the output and return the exit status: `status`, or 1 if the output cannot be written."""
    try:
        print(output, end="\n" if output else "", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # such as a full disk
        _drop_output()
        print(f"standard output: cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    return status


def _drop_output() -> None:
    """Discard the rest of the output: it is flushed at exit, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sparse-continual", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="command")
    register = commands.add_parser(
        "register", help="freeze the design of a confirmatory study before it is run"
    )
    register.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="config files that override config.yaml, as for snakemake --configfile",
    )
    register.add_argument(
        "--pilot",
        metavar="FOLDER",
        help="results folder of a pilot study, whose SDs are used to compute the power",
    )
    register.set_defaults(command=_register)
    reanalyse = commands.add_parser("reanalyse", help="intervals and tests of published tables")
    reanalyse.add_argument("file", help="the tables and comparisons: see studies/reanalysis.yaml")
    reanalyse.set_defaults(command=_reanalyse)
    audit = commands.add_parser(
        "audit",
        help="find out what kind of sparsity a checkpoint has, from its weights",
        epilog="Exit status: 0 every checkpoint was judged; 1 one could not be audited; 2 wrong arguments; "
        f"{NOT_COUNTED_STATUS} the verdict on one is not-counted.",
    )
    audit.add_argument(
        "paths",
        nargs="*",
        metavar="FOLDER_OR_REPO",
        help="checkpoint folder, or one with config.json alone; name in the registry; owner/name[@revision] of a repo",
    )
    audit.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="reports as JSON; without FILE or with -, instead of text",
    )
    audit.add_argument("--csv", metavar="FILE", help="a row per matrix")
    audit.add_argument("--figure", metavar="FILE", help="density by layer and matrix: .png, .svg or .pdf")
    audit.add_argument(
        "--convert-pickles",
        metavar="FOLDER",
        help="folder for safetensors converted from a repo that holds only pickles; without it such a repo is refused",
    )
    audit.add_argument(
        "--config-only",
        action="store_true",
        help="judge by config.json: no weight is downloaded or counted",
    )
    audit.set_defaults(command=_audit)
    store = commands.add_parser("store", help="list entries of results/store that no study needs")
    store.add_argument(
        "--configfile",
        nargs="+",
        action="append",
        default=[],
        metavar="FILE",
        help="a study: config files that override config.yaml, as for snakemake --configfile; give the option once "
        "for every study whose results are kept; without it, the study of config.yaml",
    )
    store.add_argument(
        "--replace-workflow-config",
        action="store_true",
        help="the config files stand alone, as for snakemake --replace-workflow-config",
    )
    store.add_argument("--delete", action="store_true", help="delete the listed entries")
    store.set_defaults(command=_store)
    return parser


def _register(options) -> tuple[str, int]:
    from sparse_continual.study.study import ROOT, Study
    from sparse_continual.verdicts import registration

    study = Study(checked_config(options.configfile))
    path = registration.path_of(study.name)
    content = registration.register(study, study.claims, ROOT, path, options.pilot)
    lines = [f"{path}: registered {content['registered']}, SHA-256 {content['sha256']}"]
    done = [
        manifest
        for manifest in dict.fromkeys(
            run.run.manifest for stream in study.streams for run in study.trained(stream)
        )
        if Path(manifest).exists()
    ]
    if done:
        lines.append(
            f"{len(done)} runs of this design exist already and are older than the registration: their claims will"
            " count as exploratory"
        )
    lines += registration.in_words(content)
    return "\n".join([*lines, f"Commit {path} before the first run."]), 0


def _store(options) -> tuple[str, int]:
    import shutil

    from sparse_continual import store
    from sparse_continual.integrity import STORE
    from sparse_continual.study.study import Study

    if not Path(STORE).is_dir():
        raise UserError(f"{STORE}: no such folder here; run this where snakemake was run")
    studies = [
        Study(checked_config(overlays, options.replace_workflow_config))
        for overlays in options.configfile or [[]]
    ]
    unfinished = sorted({*store.unfinished()} - {study.name for study in studies})
    if options.delete:
        if unfinished:
            raise UserError(
                f"results/{unfinished[0]}: found a study without a report, whose entries are unknown; name its config "
                "files with --configfile, finish it, or delete its folder"
            )
        if any(Path(".snakemake/locks").glob("*")):
            raise UserError(
                ".snakemake/locks: found a lock, so a workflow may be running here; wait for it to end, or remove the "
                "lock of one that was killed with snakemake --unlock"
            )
    named = {entity.path for study in studies for entity in study.entities()}
    entries = store.unneeded(named | store.reached())
    if not entries:
        return f"{STORE}: every entry is needed", 0
    sizes = {path: sum(f.lstat().st_size for f in path.rglob("*") if not f.is_dir()) for path in entries}
    lines = [f"{sizes[path] / 1e6:10.1f} MB  {path}" for path in entries]
    total = f"{len(entries)} entries, {sum(sizes.values()) / 1e6:.1f} MB"
    if not options.delete:
        lines += [
            f"results/{name}: a study without a report; it may need some of them, so name its config files"
            for name in unfinished
        ]
        return "\n".join([*lines, f"{total}: needed by no study; --delete removes them"]), 0
    for path in entries:
        with _as_one_line(path, "deleted"):
            shutil.rmtree(path)
    return "\n".join([*lines, f"{total}: deleted"]), 0


def _reanalyse(options) -> tuple[str, int]:
    from sparse_continual.reanalysis.reanalysis import reanalyse

    return reanalyse(options.file), 0


def _audit(options) -> tuple[str, int]:
    """The text to print, and the exit status: 1 if a checkpoint could not be audited (its line is on stderr, the
    others are reported), else NOT_COUNTED_STATUS if a verdict is not-counted."""
    from sparse_continual.auditing import view
    from sparse_continual.auditing.audit import NOT_COUNTED, audit, compare, locate
    from sparse_continual.files import write, write_json

    if options.json and Path(options.json).is_dir():  # `--json FOLDER`: the folder is a checkpoint
        options.paths, options.json = [options.json, *options.paths], "-"
    if not options.paths:
        raise UserError("audit: found no checkpoint, expected a folder or a repository")
    if options.figure:
        view.form_of(options.figure)
    for path in (options.figure, options.csv, None if options.json == "-" else options.json):
        if path:
            _check_place(Path(path))
    folders, reports, status = [], [], 0
    for word in dict.fromkeys(options.paths):
        try:
            with _as_one_line(word, "read"):
                folder, entry, commit = locate(word, options.convert_pickles, options.config_only)
                reports.append(audit(folder, _as_text(word), entry, options.config_only, commit))
            folders.append(folder)
        except UserError as error:
            print(error, file=sys.stderr)
            status = 1
    if not reports:
        return "", status
    if not status and any(report["verdict"] == NOT_COUNTED for report in reports):
        status = NOT_COUNTED_STATUS
    pairs = compare(folders, reports)
    for report in reports:
        report["compared"] = [pair for pair in pairs if report["path"] in (pair["first"], pair["second"])]
    if options.figure:  # first, because there may be nothing to draw
        with _as_one_line(options.figure):
            view.draw(reports, options.figure)
    if options.csv:
        with _as_one_line(options.csv):
            write(options.csv, view.as_csv(reports))
    if options.json == "-":
        return json.dumps(reports, indent=1), status
    if options.json:
        with _as_one_line(options.json):
            write_json(options.json, reports)
    return view.as_text(reports, pairs), status


def _as_text(name: str) -> str:
    r"""A file name from the command line as text that any file can hold: bytes that are not UTF-8 become \xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _check_place(path: Path) -> None:
    """Raise UserError if no file can be written to `path`; missing folders are allowed."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected the name of a file")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{path}: {above} is a file, expected a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written (no right to write in {above})")


@contextmanager
def _as_one_line(path, what="written"):
    """Turn an OSError in this context into one line that names the file: the system's name of it, or `path`."""
    try:
        yield
    except OSError as error:  # such as a full disk, or another user's folder
        remedy = "; expected a checkpoint that you may read" if what == "read" else ""
        raise UserError(f"{error.filename or path}: cannot be {what} ({error.strerror}){remedy}") from None


def checked_config(overlays, alone: bool = False) -> dict:
    """config.yaml with the overrides of the files `overlays`, or the overlays alone, checked."""
    from sparse_continual.study.config import checked, merged
    from sparse_continual.study.study import ROOT

    return checked(merged([*([] if alone else [ROOT / "config.yaml"]), *overlays]))


if __name__ == "__main__":
    sys.exit(main())
