"""Collect the measurements of every topology of the study, in one table of each kind."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.pruning.tables import MEASURED
    from sparse_continual.statistics.collect import collect

    for table in MEASURED:
        collect(snakemake.params.topologies, snakemake.input[table.name], table, snakemake.output[table.name])
