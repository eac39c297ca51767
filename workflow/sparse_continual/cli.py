"""The command `sparse-continual`: what is done by hand, once, and so is no rule of the workflow.

`sparse-continual register` freezes the design of a confirmatory study before it is run;
`sparse-continual reanalyse` puts published tables through the intervals of this package.
"""

import argparse
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
