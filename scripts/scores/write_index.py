"""Write the folders of the run and the scores of every condition and block."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.csv_text import csv_text
    from sparse_continual.files import write

    columns = ("stream", "condition", "block", "run", "scores")
    write(
        snakemake.output.index,
        csv_text([dict(zip(columns, row, strict=True)) for row in snakemake.params.rows], columns),
    )
