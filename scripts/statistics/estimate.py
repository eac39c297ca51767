from pathlib import Path

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.statistics.estimate import estimate

    plan = snakemake.params.plan
    estimate(
        Path(snakemake.input.tables[0]).parent,
        Path(snakemake.output.metrics).parent,
        plan["contrasts"],
        plan["statistics"]["level"],
        plan["statistics"]["learning_margin"],
        plan["bases"],
        plan["tables"],
    )
