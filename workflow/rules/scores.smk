def score_code(run):
    """Digest of the library code that scores a run, without the script, so that the training process can compute it."""
    return code("scores.score", *variants(run.settings["arm"]))


def score_job(run):
    """The inputs of scoring besides the run: its settings, its code, and the base's mixture."""
    score = SCORES[run.name]
    declared = score.inputs.get("mixture")
    return {
        "settings": score.settings,
        "code": score_code(run),
        "mixture": declared.manifest if declared else None,
    }


SCORES = {cell.run.name: cell.score for stream in STUDY.streams for cell in STUDY.trained(stream)}
SCORED = ["scores", "items", "calibrated"] if "calibrated" in STUDY.measured() else ["scores", "items"]


rule score_run:
    input:
        unpack(lambda wc: made_from("scores", wc.score, "run", "mixture")),
        unpack(
            lambda wc: made_from(
                "runs", STUDY.get("scores", wc.score).inputs["run"].name, "base", "like", "stream"
            )
        ),
    output:
        tables=[f"results/store/scores/{{score}}/{name}.csv" for name in SCORED],
        manifest="results/store/scores/{score}/manifest.json",
    log:
        "results/store/logs/score_run/{score}.log",
    threads: 1
    resources:
        **resources_of("scores", "score"),
    params:
        settings=lambda wc: STUDY.get("scores", wc.score).settings,
        asked=lambda wc, input: asked_of(input),
        run=lambda wc: STUDY.get("scores", wc.score).inputs["run"].settings,
        code=lambda wc: score_code(STUDY.get("scores", wc.score).inputs["run"]),
        adoption=code("scripts/scores/score_run.py"),
    script:
        "../../scripts/scores/score_run.py"


rule write_index:
    input:
        lambda wc: [cell.score.manifest for stream in STUDY.streams for cell in STUDY.runs(stream)],
    output:
        index=f"{RESULTS}/index.csv",
        manifest=manifest_beside("write_index"),
    log:
        f"{RESULTS}/logs/write_index.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        asked=lambda wc, input: asked_of(input),
        rows=[
            [stream, cell.condition, cell.block, cell.run.path, cell.score.path]
            for stream in STUDY.streams
            for cell in STUDY.runs(stream)
        ],
        code=code("scripts/scores/write_index.py"),
    script:
        "../../scripts/scores/write_index.py"
