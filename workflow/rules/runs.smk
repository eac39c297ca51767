def scoring_of(wc):
    """The scoring that the training process also does; a change of it does not rerun the training."""
    return score_job(STUDY.get("runs", wc.run))


rule tune_condition:
    input:
        unpack(lambda wc: made_from("tuning", wc.tuning, "base", "like", "stream")),
    output:
        trials="results/store/tuning/{tuning}/trials.csv",
        chosen="results/store/tuning/{tuning}/chosen.json",
        manifest="results/store/tuning/{tuning}/manifest.json",
    log:
        "results/store/logs/tune_condition/{tuning}.log",
    threads: 1
    resources:
        **resources_of("tuning", "tuning"),
    params:
        settings=lambda wc: STUDY.get("tuning", wc.tuning).settings,
        asked=lambda wc, input: asked_of(input),
        code=lambda wc: code(
            "scripts/runs/tune_condition.py", *variants(STUDY.get("tuning", wc.tuning).settings["arm"])
        ),
        resume="results/store/.resume/tuning/{tuning}",
    script:
        "../../scripts/runs/tune_condition.py"


rule train_condition:
    input:
        unpack(lambda wc: made_from("runs", wc.run, "base", "like", "stream", "tuning")),
    output:
        run="results/store/runs/{run}/run.json",
        manifest="results/store/runs/{run}/manifest.json",
    log:
        "results/store/logs/train_condition/{run}.log",
    threads: 1
    resources:
        **resources_of("runs", "run"),
    params:
        settings=lambda wc: STUDY.get("runs", wc.run).settings,
        asked=lambda wc, input: asked_of(input),
        code=lambda wc: code(
            "scripts/runs/train_condition.py", *variants(STUDY.get("runs", wc.run).settings["arm"])
        ),
        resume="results/store/.resume/runs/{run}",
        # functions of `input`, so a change of scoring or of kept weights does not rerun the training
        scoring=lambda wc, input: scoring_of(wc),
        keep_weights=lambda wc, input: STUDY.study["keep_weights"],
    script:
        "../../scripts/runs/train_condition.py"


rule relearn_tasks:
    input:
        unpack(lambda wc: made_from("savings", wc.saving, "run")),
        unpack(
            lambda wc: made_from(
                "runs",
                STUDY.get("savings", wc.saving).inputs["run"].name,
                "base",
                "like",
                "stream",
                "tuning",
            )
        ),
    output:
        savings="results/store/savings/{saving}/savings.csv",
        manifest="results/store/savings/{saving}/manifest.json",
    log:
        "results/store/logs/relearn_tasks/{saving}.log",
    wildcard_constraints:
        saving=r"[A-Za-z0-9_-]+",
    threads: 1
    resources:
        **resources_of("savings", "saving"),
    params:
        settings=lambda wc: STUDY.get("savings", wc.saving).settings,
        asked=lambda wc, input: asked_of(input),
        run=lambda wc: STUDY.get("savings", wc.saving).inputs["run"].settings,
        code=lambda wc: code(
            "scripts/runs/relearn_tasks.py",
            *variants(STUDY.get("savings", wc.saving).inputs["run"].settings["arm"]),
        ),
    script:
        "../../scripts/runs/relearn_tasks.py"
