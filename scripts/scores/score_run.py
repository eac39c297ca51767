"""Adopt the scores that a training process left beside its weights, or compute them from the weights."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.device import device_of
    from sparse_continual.files import read_json, write
    from sparse_continual.scores.table import adopt, asked, key_of

    params, given = snakemake.params, snakemake.input
    folder, run, mixture = (
        Path(given.run).parent,
        read_json(Path(given.run).parent / "run.json"),
        given.get("mixture"),
    )
    wanted = asked(params.settings, params.code, given.base, given.stream, mixture)
    tables = adopt(folder, key_of(run["weights"], wanted))
    if tables is None:
        print("computing: no table beside the weights was made by this scoring", flush=True)
        from sparse_continual.integrity import read_manifest
        from sparse_continual.runs.inputs import located
        from sparse_continual.scores.score import score_saved

        job_ = {
            **params.run,
            **located(given.base, given.stream, given.get("like")),
            "folder": folder,
            "mixture": mixture and read_manifest(mixture)["folder"],
        }
        device = device_of(snakemake.resources.gpu)
        tables = score_saved(job_, params.settings, run, snakemake.threads, device)
    for path in snakemake.output.tables:
        write(path, tables[Path(path).stem])
