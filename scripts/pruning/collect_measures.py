"""What was measured of every topology of the study, in one table of each kind."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.pruning.measure import TABLES
    from sparse_continual.statistics.collect import collect

    for name, columns in TABLES.items():
        collect(snakemake.params.topologies, snakemake.input[name], columns, snakemake.output[name])
