"""Train one condition on one block's stream; leave its scores beside its weights."""

from sparse_continual.script import job

with job(snakemake):
    import importlib
    from pathlib import Path

    from sparse_continual.files import read_json, read_manifest
    from sparse_continual.identity import sha256
    from sparse_continual.runs.run import finish, run_condition

    settings, given, scoring = snakemake.params.settings, snakemake.input, snakemake.params.scoring
    folder = Path(snakemake.output[0]).parent
    like = given.like if "like" in given.keys() else None
    job_ = {
        "folder": folder,
        "resume": snakemake.params.resume,
        "identity": sha256([settings, snakemake.params.code, scoring]),
        "arm": settings["arm"],
        "model": read_manifest(given.base)["folder"],
        "topology": Path(given.base).parent,
        "like": like and Path(like).parent,
        "stream": read_manifest(given.stream)["folder"],
        "order": settings["order"],
        "training": settings["training"],
        "learning_rate": read_json(given.tuning)["learning_rate"],
        "seed": settings["seed"],
    }
    # by name, not by import: the code that scores must be no reason to train again
    score = importlib.import_module("sparse_continual.scores.score")
    judge = score.beside(job_, scoring)
    run = run_condition(job_, snakemake.threads, "cuda" if snakemake.resources.gpu else "cpu", judge)
    score.leave_beside(folder, run, scoring, given.base)
    finish(snakemake.output[0], run, snakemake.params.keep_weights)
