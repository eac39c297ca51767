"""Train one condition on one block's stream; store its scores beside its weights."""

from sparse_continual.script import job

with job(snakemake) as recorded:
    from pathlib import Path

    from sparse_continual import registry
    from sparse_continual.device import device_of
    from sparse_continual.files import read_json, sha256_of
    from sparse_continual.identity import sha256
    from sparse_continual.runs.inputs import located
    from sparse_continual.runs.run import clean_up, finish, run_condition

    params, inputs = snakemake.params, snakemake.input
    folder = Path(snakemake.output.run).parent
    job_ = {
        **params.settings,
        **located(inputs.base, inputs.stream, inputs.get("like")),
        "folder": folder,
        "resume": params.resume,
        "learning_rate": read_json(Path(inputs.tuning).parent / "chosen.json")["learning_rate"],
    }
    # by name, not by import: a change of the scoring code must not rerun the training
    score = registry.by_name("scores.score")
    beside = score.Beside(job_, params.scoring, inputs.base, inputs.stream)
    input_digests = [sha256_of(path) for path in inputs]
    job_["identity"] = sha256([params.settings, params.code, input_digests, beside.identity])
    run = run_condition(job_, snakemake.threads, device_of(snakemake.resources.gpu), beside.rows)
    beside.leave(folder, run)
    finish(snakemake.output.run, run)
    recorded["removable"] = ["weights"]
clean_up(folder, run, params.keep_weights, params.resume)
