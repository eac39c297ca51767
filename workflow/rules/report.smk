from pathlib import Path

from sparse_continual.code import PACKAGE
from sparse_continual.files import digests

REPORTED = ("contrasts", "summary", "flags", "frontier")


def report_facts():
    """The slice of config that the report shows: the study, and the parts that it uses."""
    study = settings("study")
    conditions = {name: settings("conditions", name) for name in STUDY.conditions}
    used = {
        section: sorted({condition[key] for condition in conditions.values()})
        for section, key in (("bases", "base"), ("topologies", "topology"), ("mechanisms", "mechanism"))
    }
    return {
        "study": study,
        "one_base": one_base(),
        "conditions": conditions,
        "streams": {name: settings("streams", name) for name in STUDY.streams},
        "figures": settings("figures"),
        **{section: {name: settings(section, name) for name in names} for section, names in used.items()},
    }


rule write_report:
    input:
        budget=f"{RESULTS}/budget.csv",
        orders=[f"{RESULTS}/{stream}/orders.csv" for stream in STUDY.streams],
        runs=[f"{RESULTS}/{stream}/tables/runs.csv" for stream in STUDY.streams],
        statistics=[
            f"{RESULTS}/{stream}/statistics/{table}.csv" for stream in STUDY.streams for table in REPORTED
        ],
        figures=[
            f"{RESULTS}/{stream}/figures/{figure}.svg"
            for stream in STUDY.streams
            for figure in STUDY.config["figures"]
        ],
    output:
        page=report(f"{RESULTS}/report/report.html", caption="../report/report.rst", category="Report"),
        extract=f"{RESULTS}/report/findings.md",
    log:
        f"{RESULTS}/logs/write_report/report.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        facts=report_facts(),
        templates=digests(Path(PACKAGE) / "report" / "templates"),
        code=code(
            "scripts/report/write_report.py", *(f"figures.{figure}" for figure in STUDY.config["figures"])
        ),
    script:
        "../../scripts/report/write_report.py"
