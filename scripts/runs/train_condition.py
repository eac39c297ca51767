"""Train one condition on one block's stream; leave its scores beside its weights."""

from sparse_continual.script import job

with job(snakemake) as recorded:
    from pathlib import Path

    from sparse_continual import registry
    from sparse_continual.device import device_of
    from sparse_continual.files import read_json, sha256_of
    from sparse_continual.identity import sha256
    from sparse_continual.runs.inputs import located
    from sparse_continual.runs.run import clean_up, finish, run_condition

    params, given = snakemake.params, snakemake.input
    folder = Path(snakemake.output.run).parent
    job_ = {
        **params.settings,
        **located(given.base, given.stream, given.get("like")),
        "folder": folder,
        "resume": params.resume,
        "learning_rate": read_json(Path(given.tuning).parent / "chosen.json")["learning_rate"],
    }
    # by name, not by import: the code that scores must be no reason to train again
    score = registry.by_name("scores.score")
    beside = score.Beside(job_, params.scoring, given.base, given.stream)
    made_of = [sha256_of(path) for path in given]
    job_["identity"] = sha256([params.settings, params.code, made_of, beside.identity])
    run = run_condition(job_, snakemake.threads, device_of(snakemake.resources.gpu), beside.rows)
    beside.leave(folder, run)
    finish(snakemake.output.run, run)
    recorded["removable"] = ["weights"]
clean_up(folder, run, params.keep_weights, params.resume)
