"""Try the learning rates of one condition on the tuning blocks, and choose."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.csv_text import csv_text
    from sparse_continual.device import device_of
    from sparse_continual.files import sha256_of, write, write_json
    from sparse_continual.identity import sha256
    from sparse_continual.runs.inputs import located
    from sparse_continual.runs.resume import clear
    from sparse_continual.runs.tuning import choose, tune

    params, inputs = snakemake.params, snakemake.input
    blocks = params.settings["blocks"]
    like = inputs.get("like") or [None] * len(blocks)
    cells = zip(blocks, inputs.base, inputs.stream, like, strict=True)
    input_digests = [sha256_of(path) for path in inputs]
    job_ = {
        **params.settings,
        "blocks": [{**block, **located(*manifests)} for block, *manifests in cells],
        "resume": params.resume,
        "identity": sha256([params.settings, params.code, input_digests]),
    }
    rows = tune(job_, snakemake.threads, device_of(snakemake.resources.gpu))
    write(snakemake.output.trials, csv_text(rows, list(rows[0])))
    write_json(snakemake.output.chosen, choose(rows))
clear(params.resume)
