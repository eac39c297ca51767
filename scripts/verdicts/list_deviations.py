from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.verdicts.deviations import list_deviations

    inputs, params = snakemake.input, snakemake.params
    runs = [[*cell, path] for cell, path in zip(params.runs, inputs.runs, strict=True)]
    ran = {"scores": dict(zip(params.streams, inputs.scores, strict=True)), "runs": runs}
    list_deviations(
        params.registration, inputs.get("registration"), params.now, ran, snakemake.output.deviations
    )
