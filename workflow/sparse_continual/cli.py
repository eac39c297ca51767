"""The command `sparse-continual`: what is done by hand, once, and so is no rule of the workflow.

`sparse-continual register` freezes the design of a confirmatory study before it is run;
`sparse-continual reanalyse` puts published tables through the intervals of this package;
`sparse-continual audit` says what kind of sparse a checkpoint is.
"""

import argparse
import json
import sys
from pathlib import Path

from sparse_continual.errors import UserError


def main(arguments=None) -> int:
    """Run one command; its exit status. A user's mistake is told in a line of its own, without a traceback."""
    from sparse_continual.config import ConfigError

    options = _parser().parse_args(arguments)
    try:
        print(options.command(options))
    except (ConfigError, UserError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


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
        help="config files laid over config.yaml, as snakemake --configfile takes them",
    )
    register.add_argument(
        "--pilot",
        metavar="FOLDER",
        help="results folder of a pilot study, whose SDs the power is computed from",
    )
    register.set_defaults(command=_register)
    reanalyse = commands.add_parser("reanalyse", help="intervals and tests of published tables")
    reanalyse.add_argument("file", help="which tables and comparisons: see studies/reanalysis.yaml")
    reanalyse.set_defaults(command=_reanalyse)
    audit = commands.add_parser("audit", help="what kind of sparse a checkpoint is, by its weights")
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
        help="where to put safetensors made of a repo that holds pickles alone; without it such a repo is refused",
    )
    audit.add_argument(
        "--config-only",
        action="store_true",
        help="judge by config.json: no weight is downloaded or counted",
    )
    audit.set_defaults(command=_audit)
    return parser


def _register(options) -> str:
    from sparse_continual.statistics import registration
    from sparse_continual.study import ROOT, Study

    study = Study(checked_config(options.configfile))
    path = registration.path_of(study.name)
    made = registration.register(study, study.claims, ROOT, path, options.pilot)
    lines = [f"{path}: registered {made['registered']}, SHA-256 {made['sha256']}"]
    done = [
        manifest
        for manifest in dict.fromkeys(
            run.run.manifest for stream in study.streams for run in study.trained(stream)
        )
        if Path(manifest).exists()
    ]
    if done:
        lines.append(
            f"{len(done)} runs of this design are there already, older than the registration: claims that rest on them"
            " will count as exploratory"
        )
    lines += registration.in_words(made)
    return "\n".join([*lines, f"Commit {path} before the first run."])


def _reanalyse(options) -> str:
    from sparse_continual.statistics.reanalysis import reanalyse

    return reanalyse(options.file)


def _audit(options) -> str:
    from sparse_continual.files import write, write_json
    from sparse_continual.topologies import audit_view
    from sparse_continual.topologies.audit import audit, compare, locate

    if options.json and Path(options.json).is_dir():  # `--json FOLDER`: no file has the name of a folder
        options.paths, options.json = [options.json, *options.paths], "-"
    if not options.paths:
        raise UserError("audit: found no checkpoint, expected a folder or a repository")
    words = list(dict.fromkeys(options.paths))
    found = [locate(word, options.convert_pickles, options.config_only) for word in words]
    reports = [
        audit(folder, word, entry, options.config_only)
        for word, (folder, entry) in zip(words, found, strict=True)
    ]
    pairs = compare([folder for folder, _ in found], reports)
    for report in reports:
        report["compared"] = [pair for pair in pairs if report["path"] in (pair["first"], pair["second"])]
    if options.csv:
        write(options.csv, audit_view.as_csv(reports))
    if options.figure:
        audit_view.draw(reports, options.figure)
    if options.json == "-":
        return json.dumps(reports, indent=1)
    if options.json:
        write_json(options.json, reports)
    return audit_view.as_text(reports, pairs)


def checked_config(overlays) -> dict:
    """config.yaml with `overlays` laid over it, as Snakemake does it, checked."""
    from snakemake.utils import update_config

    from sparse_continual.config import checked
    from sparse_continual.study import ROOT

    config = _yaml(ROOT / "config.yaml")
    for path in overlays:
        update_config(config, _yaml(path))
    return checked(config)


def _yaml(path) -> dict:
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: found no keys, expected those of config.yaml that it changes")
    return found


if __name__ == "__main__":
    sys.exit(main())
