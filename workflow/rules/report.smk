from pathlib import Path

from sparse_continual import tables
from sparse_continual.code import PACKAGE
from sparse_continual.files import sha256_of
from sparse_continual.integrity import digests

REPORTED = [name for name, table in tables.every().items() if table.folder == tables.STATISTICS]
WHOLE = [name for name, table in tables.every().items() if table.folder == tables.WHOLE]


def overlays():
    """The config files that override config.yaml, relative to the checkout, so that the working directory does not matter."""
    checkout = Path(workflow.basedir).resolve()
    files = [Path(file).resolve() for file in workflow.configfiles]
    return [os.path.relpath(file, checkout) for file in files if file != checkout / "config.yaml"]


def report_facts():
    """The slice of config that the report shows: the study, and the parts that it uses."""
    study = settings("study")
    conditions = {name: settings("conditions", name) for name in STUDY.conditions}
    used = {
        section: sorted({condition[key] for condition in conditions.values()})
        for section, key in (("bases", "base"), ("topologies", "topology"), ("mechanisms", "mechanism"))
    }
    frozen = {"path": str(REGISTRATION), "digest": sha256_of(REGISTRATION)} if REGISTRATION.exists() else None
    return {
        "study": study,
        "phase": STUDY.study["phase"],
        "language": settings("report", "language"),
        "registration": frozen,
        "claims": canonical(STUDY.claims),
        "configfiles": overlays(),
        "bases_of_blocks": STUDY.bases(),
        "published": STUDY.published(),
        "counted": STUDY.counted(),
        "conditions": conditions,
        "topology_names": {name: STUDY.topology_name(name) for name in STUDY.conditions},
        "streams": {name: settings("streams", name) for name in STUDY.streams},
        "tasks": {name: len(STUDY.tasks(name)) for name in STUDY.streams},
        "bits": {name: STUDY.bits(name) for name in STUDY.streams},
        "generated": all(STUDY.generated(name) for name in STUDY.conditions),
        "figures": settings("figures"),
        **{section: {name: settings(section, name) for name in names} for section, names in used.items()},
    }


def tasks_built():
    """(stream, condition, manifest) of the tasks of the first block and of the base's mixture, for every condition."""
    block = STUDY.blocks[0]
    return [
        (stream, condition, entity.manifest)
        for stream in STUDY.streams
        for condition in STUDY.conditions
        for entity in (STUDY.stream(stream, condition, block), STUDY.mixture(condition, block))
        if entity
    ]


READ_BY_REPORT = [
    f"{RESULTS}/budget.csv",
    f"{RESULTS}/index.csv",
    *of_streams("orders"),
    *(path for name in ("runs", "densities", "scores", *MEASURES) for path in of_streams(f"tables/{name}")),
    *(path for table in REPORTED for path in of_streams(f"statistics/{table}")),
    *(f"{RESULTS}/statistics/{table}.csv" for table in WHOLE),
    *(path for figure in STUDY.config["figures"] for path in of_streams(f"figures/{figure}")),
]


rule write_report:
    input:
        budget=f"{RESULTS}/budget.csv",
        orders=[f"{RESULTS}/{stream}/orders.csv" for stream in STUDY.streams],
        index=f"{RESULTS}/index.csv",
        runs=of_streams("tables/runs"),
        densities=of_streams("tables/densities"),
        measures=[path for name in MEASURES for path in of_streams(f"tables/{name}")],
        statistics=[path for table in REPORTED for path in of_streams(f"statistics/{table}")],
        whole=[f"{RESULTS}/statistics/{table}.csv" for table in WHOLE],
        scores=of_streams("tables/scores"),
        built=list(dict.fromkeys(manifest for *_, manifest in tasks_built())),
        trained=[f"{run.run.path}/run.json" for stream in STUDY.streams for run in STUDY.runs(stream)],
        figures=[
            f"{RESULTS}/{stream}/figures/{figure}.svg"
            for stream in STUDY.streams
            for figure in STUDY.config["figures"]
        ],
        manifests=manifests_of(READ_BY_REPORT),
    output:
        page=report(f"{RESULTS}/report/report.html", caption="../report/report.rst", category="Report"),
        extract=f"{RESULTS}/report/findings.md",
        latex=f"{RESULTS}/report/primary.tex",
    log:
        f"{RESULTS}/logs/write_report/report.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        asked=lambda wc, input: asked_of(input),
        facts=report_facts(),
        built=tasks_built(),
        lock=sha256_of(ROOT / "envs" / "lock.txt"),
        templates=digests(Path(PACKAGE) / "report" / "templates"),
        code=code(
            "scripts/report/write_report.py", *(f"figures.{figure}" for figure in STUDY.config["figures"])
        ),
    script:
        "../../scripts/report/write_report.py"
