from pathlib import Path

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.report.environment import gather
    from sparse_continual.report.render import write
    from sparse_continual.report.tasks import gather as gather_tasks
    from sparse_continual.study.study import ROOT

    write(
        Path(snakemake.input.budget).parent,
        snakemake.params.facts,
        snakemake.output.page,
        snakemake.output.extract,
        snakemake.output.latex,
        gather(snakemake.input.trained, ROOT / "envs" / "lock.txt"),
        gather_tasks(snakemake.params.built),
    )
