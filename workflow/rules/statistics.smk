from sparse_continual.statistics.estimate import WRITTEN

REGISTRATION = registration.path_of(STUDY.name)
# densities describe topologies, which no estimate is made from
ESTIMATED_FROM = [name for name in STUDY.measured() if name != "densities"]
JUDGED = ("claims", "power", "loads")


def of_streams(table):
    """The table of every stream of the study."""
    return [f"{RESULTS}/{stream}/{table}.csv" for stream in STUDY.streams]


rule collect_tables:
    input:
        scores=lambda wc: [f"{run.score.path}/scores.csv" for run in STUDY.runs(wc.stream)],
        by_item=lambda wc: [f"{run.score.path}/items.csv" for run in STUDY.runs(wc.stream)],
        references=lambda wc: [f"{run.score.path}/scores.csv" for _, run in STUDY.references(wc.stream)],
        repeats=lambda wc: [f"{run.score.path}/scores.csv" for run in STUDY.repeats(wc.stream)],
        savings=lambda wc: [saving.manifest for _, _, saving in STUDY.savings(wc.stream)],
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
        [f"{RESULTS}/{{stream}}/tables/{name}.csv" for name in STUDY.measured()],
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
        [f"{RESULTS}/{{stream}}/tables/{name}.csv" for name in ESTIMATED_FROM],
    output:
        **{name: f"{RESULTS}/{{stream}}/statistics/{name}.csv" for name in WRITTEN},
    log:
        f"{RESULTS}/logs/estimate/{{stream}}.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
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


rule check_instrument:
    input:
        scores=f"{RESULTS}/{{stream}}/tables/scores.csv",
    output:
        f"{RESULTS}/{{stream}}/statistics/instrument.csv",
    log:
        f"{RESULTS}/logs/check_instrument/{{stream}}.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        plan={
            "contrasts": canonical(STUDY.contrasts),
            **{key: settings("study", "statistics", key) for key in ("level", "learning_margin")},
            "bases": STUDY.bases(),
            "mechanisms": {name: STUDY.arm(name)["mechanism"]["kind"] for name in STUDY.conditions},
        },
        code=code(
            "scripts/statistics/check_instrument.py",
            *sorted(
                {f"runs.mechanisms.{STUDY.arm(name)['mechanism']['kind']}" for name in STUDY.conditions}
            ),
        ),
    script:
        "../../scripts/statistics/check_instrument.py"


rule list_deviations:
    input:
        **({"registration": str(REGISTRATION)} if REGISTRATION.exists() else {}),
        scores=of_streams("tables/scores"),
        runs=[run.run.manifest for stream in STUDY.streams for run in STUDY.trained(stream)],
    output:
        f"{RESULTS}/statistics/deviations.csv",
    log:
        f"{RESULTS}/logs/list_deviations.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        registration=str(REGISTRATION),
        now=lambda wc: {
            "study": STUDY.name,
            "design": registration.design(STUDY, STUDY.claims),
            "analysis": registration.analysis(workflow.basedir),
        },
        streams=STUDY.streams,
        runs=[[stream, run.condition, run.block] for stream in STUDY.streams for run in STUDY.trained(stream)],
        code=code("scripts/statistics/list_deviations.py"),
    script:
        "../../scripts/statistics/list_deviations.py"


rule judge_claims:
    input:
        **{kind: of_streams(f"statistics/{kind}") for kind in ("differences", "flags", "instrument")},
        deviations=f"{RESULTS}/statistics/deviations.csv",
        budget=f"{RESULTS}/budget.csv",
    output:
        **{name: f"{RESULTS}/statistics/{name}.csv" for name in JUDGED},
    log:
        f"{RESULTS}/logs/judge_claims.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        plan=lambda wc: {
            "streams": STUDY.streams,
            "claims": canonical(STUDY.claims),
            "contrasts": canonical(STUDY.contrasts),
            "statistics": settings("study", "statistics"),
            "phase": STUDY.study["phase"],
            "bases": STUDY.bases(),
            "bits": {stream: STUDY.bits(stream) for stream in STUDY.streams},
            "pilot": registration.pilot_of(REGISTRATION),
        },
        code=code("scripts/statistics/judge_claims.py"),
    script:
        "../../scripts/statistics/judge_claims.py"
