"""Adopt the scores that a training process left beside its weights, or compute them from the weights."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.files import read_json, write
    from sparse_continual.scores.table import adopt, csv_text, key_of

    given, params = snakemake.input, snakemake.params
    mixture = given.mixture if "mixture" in given.keys() else None
    folder, run = Path(given.run).parent, read_json(given.run)
    key = key_of(run["weights"], params.settings, params.code, given.base, mixture)
    text = adopt(folder, key)
    if text is None:
        print("computing: no table beside the weights was made by this scoring", flush=True)
        from sparse_continual.files import read_manifest
        from sparse_continual.scores.evaluate import COLUMNS
        from sparse_continual.scores.score import score_saved

        like = given.like if "like" in given.keys() else None
        job_ = {
            "folder": folder,
            "arm": params.run["arm"],
            "model": read_manifest(given.base)["folder"],
            "topology": Path(given.base).parent,
            "like": like and Path(like).parent,
            "stream": read_manifest(given.stream)["folder"],
            "mixture": mixture and read_manifest(mixture)["folder"],
            "order": params.run["order"],
            "seed": params.run["seed"],
        }
        price = f"{sum(task['steps'] for task in run['tasks'])} steps, {run['seconds']:.0f} s when it was trained"
        device = "cuda" if snakemake.resources.gpu else "cpu"
        text = csv_text(score_saved(job_, params.settings, run, price, snakemake.threads, device), COLUMNS)
    write(snakemake.output[0], text)
