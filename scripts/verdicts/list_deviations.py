from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.verdicts.deviations import list_deviations

    given, params = snakemake.input, snakemake.params
    runs = [[*cell, path] for cell, path in zip(params.runs, given.runs, strict=True)]
    ran = {"scores": dict(zip(params.streams, given.scores, strict=True)), "runs": runs}
    list_deviations(
        params.registration, given.get("registration"), params.now, ran, snakemake.output.deviations
    )
