def one_base():
    """Whether the study's blocks share one published base, so that they replicate streams alone."""
    return not all(STUDY.generated(condition) for condition in STUDY.conditions)


rule collect_tables:
    input:
        scores=lambda wc: [f"{run.score.path}/scores.csv" for run in STUDY.runs(wc.stream)],
        runs=lambda wc: [f"{run.run.path}/run.json" for run in STUDY.runs(wc.stream)],
        trials=lambda wc: [f"{tuning.path}/trials.csv" for _, tuning in STUDY.tunings(wc.stream)],
        chosen=lambda wc: [f"{tuning.path}/chosen.json" for _, tuning in STUDY.tunings(wc.stream)],
        densities=lambda wc: [f"{made.path}/densities.csv" for _, _, made in STUDY.topologies(wc.stream)],
    output:
        scores=f"{RESULTS}/{{stream}}/tables/scores.csv",
        runs=f"{RESULTS}/{{stream}}/tables/runs.csv",
        trials=f"{RESULTS}/{{stream}}/tables/trials.csv",
        densities=f"{RESULTS}/{{stream}}/tables/densities.csv",
    log:
        f"{RESULTS}/logs/collect_tables/{{stream}}.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        rows=lambda wc: {
            "runs": [[run.condition, run.block] for run in STUDY.runs(wc.stream)],
            "trials": [condition for condition, _ in STUDY.tunings(wc.stream)],
            "topologies": [[name, block] for name, block, _ in STUDY.topologies(wc.stream)],
        },
        code=code("scripts/statistics/collect_tables.py"),
    script:
        "../../scripts/statistics/collect_tables.py"


rule estimate:
    input:
        scores=f"{RESULTS}/{{stream}}/tables/scores.csv",
        runs=f"{RESULTS}/{{stream}}/tables/runs.csv",
        trials=f"{RESULTS}/{{stream}}/tables/trials.csv",
    output:
        metrics=f"{RESULTS}/{{stream}}/statistics/metrics.csv",
        summary=f"{RESULTS}/{{stream}}/statistics/summary.csv",
        differences=f"{RESULTS}/{{stream}}/statistics/differences.csv",
        contrasts=f"{RESULTS}/{{stream}}/statistics/contrasts.csv",
        flags=f"{RESULTS}/{{stream}}/statistics/flags.csv",
        frontier=f"{RESULTS}/{{stream}}/statistics/frontier.csv",
    log:
        f"{RESULTS}/logs/estimate/{{stream}}.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        plan={
            "contrasts": settings("study", "contrasts"),
            "statistics": settings("study", "statistics"),
            "one_base": one_base(),
        },
        code=code("scripts/statistics/estimate.py"),
    script:
        "../../scripts/statistics/estimate.py"
