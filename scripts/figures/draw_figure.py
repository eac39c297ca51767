from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.figures._draw import draw

    draw(
        snakemake.wildcards.figure, snakemake.input.tables, snakemake.params.figure, snakemake.output.figures
    )
