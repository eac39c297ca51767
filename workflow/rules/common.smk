import os
import shlex
import sys
from pathlib import Path

import sparse_continual
from sparse_continual import code as code_digests
from sparse_continual.budgets import resources as job_resources
from sparse_continual.errors import ConfigError, UserError
from sparse_continual.identity import canonical, sha256
from sparse_continual.integrity import MANIFESTS, STORE
from sparse_continual.verdicts import registration
from sparse_continual.study.config import checked, merged
from sparse_continual.study.study import ROOT, Study
from sparse_continual.pruning.check import variants as topology_variants


wildcard_constraints:
    model=r"[A-Za-z0-9_-]+",
    topology=r"[A-Za-z0-9_-]+",
    built=r"[A-Za-z0-9_-]+",
    tuning=r"[A-Za-z0-9_-]+",
    run=r"[A-Za-z0-9_-]+",
    score=r"[A-Za-z0-9_-]+",
    stream=r"[A-Za-z0-9_-]+",
    figure=r"[A-Za-z0-9_-]+",


def read_config():
    """The config of the files and overrides on the command line, as `merged` reads them.

    Snakemake passes the config files to jobs of rules with `run:`, but not --replace-workflow-config, so they would read
    another study. Such jobs read it from the environment.
    """
    command = workflow.config_settings
    replaced = os.environ.get("SPARSE_CONTINUAL_REPLACE_CONFIG") == "1" or command.replace_workflow_config
    os.environ["SPARSE_CONTINUAL_REPLACE_CONFIG"] = str(int(replaced))
    defaults = [] if replaced else [Path(workflow.basedir) / "config.yaml"]
    return merged([*defaults, *command.configfiles], command.config)


def open_study():
    """The study of the config; mistakes end the start with one line each."""
    if sys.platform == "win32":
        sys.exit(
            "Windows: found no support for its paths and processes; run this in the Windows Subsystem for Linux (WSL)"
        )
    here = Path(workflow.basedir) / "workflow" / "sparse_continual"
    if Path(sparse_continual.__file__).resolve().parent != here.resolve():
        sys.exit(
            f"the package sparse_continual is imported from {Path(sparse_continual.__file__).parent}, not from this "
            "checkout; run `pip install -e .` here, in the environment that runs snakemake"
        )
    try:
        _callable(sys.executable)
        study = Study(checked(read_config()))
        # refuse a registration that was edited by hand
        registration.pilot_of(registration.path_of(study.name))
        for folder in (Path("results"), Path("results/store"), Path("results") / study.name):
            _writable(folder)
    except (ConfigError, UserError) as error:
        sys.exit(str(error))
    return study


def _callable(python):
    """Refuse a Python path with characters that a shell interprets: Snakemake does not quote it when it starts jobs."""
    try:
        plain = shlex.split(python) == [python] and not set("$`&|;<>()") & set(python)
    except ValueError:  # an open quotation mark
        plain = False
    if not plain:
        raise UserError(
            f"{python}: Snakemake starts jobs with this Python, and its path has blanks, quotation marks or other marks "
            "of the shell; make the environment in a folder without them: python3 -m venv FOLDER"
        )


def _writable(folder):
    """Refuse a folder without write permission, before anything is made."""
    if folder.is_symlink() and not folder.exists():
        raise UserError(
            f"{folder.absolute()}: a link to {os.readlink(folder)}, which does not exist; make that folder, or remove "
            "the link"
        )
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    if not existing.is_dir():
        raise UserError(
            f"{existing.absolute()}: not a folder; results are written into one of that name, so rename it"
        )
    if not os.access(existing, os.W_OK):
        raise UserError(
            f"{existing.absolute()}: not writable; run in another directory (--directory), or change its rights"
        )


# Jobs use downloaded files and make no request to the hub; the download rule has the user's own setting.
os.environ.setdefault("SPARSE_CONTINUAL_HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "0"))
os.environ["HF_HUB_OFFLINE"] = "1"

STUDY = open_study()
RESULTS = f"results/{STUDY.name}"


def settings(*keys):
    """The slice of the checked config under `keys`, canonical: equal settings compare equal."""
    value = STUDY.config
    for key in keys:
        value = value[key]
    return canonical(value)


def code(*entries):
    """Digest of the code behind `entries`: script paths, and modules of the package by name."""
    return code_digests.digest(
        *(str(Path(workflow.basedir) / entry) if entry.endswith(".py") else entry for entry in entries)
    )


def asked_of(paths):
    """{folder: digest of the filled settings that this study needs} of the artifacts that a job reads.

    Snakemake does not rerun a job when a function of `input` changes, so the job compares these digests with its
    inputs' manifests.
    """
    folders = {Path(path).parent for path in paths if Path(STORE) in Path(path).parents}
    return {str(path): sha256(STUDY.get(path.parent.name, path.name).settings) for path in folders}


def manifest_beside(rule, stream=None):
    """Path of the manifest of a rule that writes tables or figures of a stream, or of the whole study."""
    return str(Path(RESULTS, *([stream] if stream else []), MANIFESTS, f"{rule}.json"))


def manifests_of(paths):
    """Sorted manifests that record the tables at `paths`; a rule that reads the tables has them as inputs."""
    return sorted({manifest_beside(*_writer(Path(path).relative_to(RESULTS).parts)) for path in paths})


def _writer(parts):
    """(rule, stream or None) that writes a study's table."""
    *folders, file = parts
    table, stream = Path(file).stem, folders[0] if folders and folders[0] in STUDY.streams else None
    place = folders[-1] if folders else None
    if place == "tables":
        return "collect_measures" if table in MEASURES else "collect_tables", stream
    if place == "figures":
        return f"draw_figure-{table}", stream
    if place == "statistics" and stream:
        return "check_instrument" if table == "instrument" else "estimate", stream
    if place == "statistics":
        return "list_deviations" if table == "deviations" else "judge_claims", None
    return {"budget": "compute_budgets", "index": "write_index", "orders": "draw_orders"}[table], stream


def made_from(stage, name, *roles):
    """{role: manifest, or list of manifests} of an entity's inputs, for the roles that it has."""
    inputs = STUDY.get(stage, name).inputs
    return {
        role: (
            [entity.manifest for entity in inputs[role]]
            if isinstance(inputs[role], list)
            else inputs[role].manifest
        )
        for role in roles
        if role in inputs
    }


def variants(arm):
    """Modules that an arm's training looks up by name, besides the imports of its script."""
    mask = ["topologies.topology"] if (arm["sparse"] and arm["locked"]) or arm["writes"] != "all" else []
    return [f"runs.mechanisms.{arm['mechanism']['kind']}", *mask]


def resources_of(stage, name):
    """Memory, time and GPUs of the job that makes an entity, from its price."""
    return {
        "mem_mb": lambda wc, attempt: job_resources.megabytes(STUDY, STUDY.get(stage, wc[name]), attempt),
        "runtime": lambda wc, attempt: job_resources.minutes(STUDY, STUDY.get(stage, wc[name]), attempt),
        "gpu": lambda wc: job_resources.gpus(STUDY, STUDY.get(stage, wc[name])),
    }


# for rules that only read and write tables
OF_TABLES = {
    "mem_mb": lambda wc, attempt: job_resources.table_megabytes(attempt),
    "runtime": lambda wc, attempt: job_resources.table_minutes(attempt),
}
