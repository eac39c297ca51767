from sparse_continual import tables
from sparse_continual.statistics import tables as statistics_tables

# no estimate uses densities
ESTIMATED_FROM = [name for name in STUDY.measured() if name != "densities"]


rule collect_tables:
    input:
        scores=lambda wc: [f"{run.score.path}/scores.csv" for run in STUDY.runs(wc.stream)],
        by_item=lambda wc: [f"{run.score.path}/items.csv" for run in STUDY.runs(wc.stream)],
        references=lambda wc: [f"{run.score.path}/scores.csv" for _, run in STUDY.references(wc.stream)],
        repeats=lambda wc: [f"{run.score.path}/scores.csv" for run in STUDY.repeats(wc.stream)],
        secondary=lambda wc: [f"{made.path}/{made.stage}.csv" for _, _, made in STUDY.secondary(wc.stream)],
        calibrated=lambda wc: [
            f"{run.score.path}/calibrated.csv"
            for run in STUDY.runs(wc.stream)
            if "calibrated" in STUDY.measured()
        ],
        runs=lambda wc: [f"{run.run.path}/run.json" for run in STUDY.runs(wc.stream)],
        trials=lambda wc: [f"{tuning.path}/trials.csv" for _, tuning in STUDY.tunings(wc.stream)],
        chosen=lambda wc: [f"{tuning.path}/chosen.json" for _, tuning in STUDY.tunings(wc.stream)],
        densities=lambda wc: [f"{made.path}/densities.csv" for _, _, made in STUDY.topologies(wc.stream)],
    output:
        tables=[f"{RESULTS}/{{stream}}/tables/{name}.csv" for name in STUDY.measured()],
        manifest=manifest_beside("collect_tables", "{stream}"),
    log:
        f"{RESULTS}/logs/collect_tables/{{stream}}.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        asked=lambda wc, input: asked_of(input),
        rows=lambda wc: {
            "runs": [[run.condition, run.block] for run in STUDY.runs(wc.stream)],
            "trials": [condition for condition, _ in STUDY.tunings(wc.stream)],
            "topologies": [[name, block] for name, block, _ in STUDY.topologies(wc.stream)],
            "references": [
                [
                    run.condition,
                    run.block,
                    run.order,
                    run.run.settings["order"],
                    run.run.settings["reference"],
                ]
                for _, run in STUDY.references(wc.stream)
            ],
            "repeats": [[run.condition, run.block] for run in STUDY.repeats(wc.stream)],
        },
        code=code("scripts/statistics/collect_tables.py"),
    script:
        "../../scripts/statistics/collect_tables.py"


rule estimate:
    input:
        tables=[f"{RESULTS}/{{stream}}/tables/{name}.csv" for name in ESTIMATED_FROM],
        manifest=manifest_beside("collect_tables", "{stream}"),
    output:
        **{
            name: f"{RESULTS}/{{stream}}/statistics/{name}.csv"
            for name in [table.name for table in tables.declared(statistics_tables)]
        },
        manifest=manifest_beside("estimate", "{stream}"),
    log:
        f"{RESULTS}/logs/estimate/{{stream}}.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        plan={
            "contrasts": canonical(STUDY.contrasts),
            "statistics": {
                key: settings("study", "statistics", key) for key in ("level", "learning_margin")
            },
            "bases": STUDY.bases(),
            "tables": ESTIMATED_FROM,
        },
        code=code("scripts/statistics/estimate.py"),
    script:
        "../../scripts/statistics/estimate.py"
