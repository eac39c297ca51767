from pathlib import Path

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.report.render import write

    write(
        Path(snakemake.input.budget).parent,
        snakemake.params.facts,
        snakemake.output.page,
        snakemake.output.extract,
    )
