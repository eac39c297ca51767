from sparse_continual.verdicts.tables import JUDGED

REGISTRATION = registration.path_of(STUDY.name)


def of_streams(table):
    """The table of every stream of the study."""
    return [f"{RESULTS}/{stream}/{table}.csv" for stream in STUDY.streams]


rule check_instrument:
    input:
        scores=f"{RESULTS}/{{stream}}/tables/scores.csv",
        manifest=manifest_beside("collect_tables", "{stream}"),
    output:
        checks=f"{RESULTS}/{{stream}}/statistics/instrument.csv",
        manifest=manifest_beside("check_instrument", "{stream}"),
    log:
        f"{RESULTS}/logs/check_instrument/{{stream}}.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        plan={
            "contrasts": canonical(STUDY.contrasts),
            **{key: settings("study", "statistics", key) for key in ("level", "learning_margin")},
            "bases": STUDY.bases(),
            "mechanisms": {name: STUDY.arm(name)["mechanism"]["kind"] for name in STUDY.conditions},
        },
        code=code(
            "scripts/verdicts/check_instrument.py",
            *sorted(
                {f"runs.mechanisms.{STUDY.arm(name)['mechanism']['kind']}" for name in STUDY.conditions}
            ),
        ),
    script:
        "../../scripts/verdicts/check_instrument.py"


rule list_deviations:
    input:
        **({"registration": str(REGISTRATION)} if REGISTRATION.exists() else {}),
        scores=of_streams("tables/scores"),
        manifests=manifests_of(of_streams("tables/scores")),
        runs=[f"{run.run.path}/run.json" for stream in STUDY.streams for run in STUDY.trained(stream)],
    output:
        deviations=f"{RESULTS}/statistics/deviations.csv",
        manifest=manifest_beside("list_deviations"),
    log:
        f"{RESULTS}/logs/list_deviations.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        asked=lambda wc, input: asked_of(input),
        registration=str(REGISTRATION),
        now=lambda wc: {
            "study": STUDY.name,
            "design": registration.design(STUDY, STUDY.claims),
            "analysis": registration.analysis(workflow.basedir),
        },
        streams=STUDY.streams,
        runs=[[stream, run.condition, run.block] for stream in STUDY.streams for run in STUDY.trained(stream)],
        code=code("scripts/verdicts/list_deviations.py"),
    script:
        "../../scripts/verdicts/list_deviations.py"


rule judge_claims:
    input:
        **{kind: of_streams(f"statistics/{kind}") for kind in ("differences", "flags", "instrument")},
        deviations=f"{RESULTS}/statistics/deviations.csv",
        budget=f"{RESULTS}/budget.csv",
        manifests=manifests_of(
            [
                *(
                    path
                    for kind in ("differences", "flags", "instrument")
                    for path in of_streams(f"statistics/{kind}")
                ),
                f"{RESULTS}/statistics/deviations.csv",
                f"{RESULTS}/budget.csv",
            ]
        ),
    output:
        **{table.name: f"{RESULTS}/statistics/{table.name}.csv" for table in JUDGED},
        manifest=manifest_beside("judge_claims"),
    log:
        f"{RESULTS}/logs/judge_claims.log",
    threads: 1
    resources:
        **OF_TABLES,
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
        code=code("scripts/verdicts/judge_claims.py"),
    script:
        "../../scripts/verdicts/judge_claims.py"
