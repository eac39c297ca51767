"""Adopt the scores that the training process stored, or compute them from the weights."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.device import device_of
    from sparse_continual.files import read_json, write
    from sparse_continual.scores.table import adopt, asked, key_of

    params, inputs = snakemake.params, snakemake.input
    folder, mixture = Path(inputs.run).parent, inputs.get("mixture")
    run = read_json(folder / "run.json")
    scoring = asked(params.settings, params.code, inputs.base, inputs.stream, mixture)
    tables = adopt(folder, key_of(run["weights"], scoring))
    if tables is None:
        print("computing: the run has no stored scores of this scoring", flush=True)
        from sparse_continual.integrity import read_manifest
        from sparse_continual.runs.inputs import located
        from sparse_continual.scores.score import score_saved

        job_ = {
            **params.run,
            **located(inputs.base, inputs.stream, inputs.get("like")),
            "folder": folder,
            "mixture": mixture and read_manifest(mixture)["folder"],
        }
        device = device_of(snakemake.resources.gpu)
        tables = score_saved(job_, params.settings, run, snakemake.threads, device)
    for path in snakemake.output.tables:
        write(path, tables[Path(path).stem])
