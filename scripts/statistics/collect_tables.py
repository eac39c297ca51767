from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.statistics import collect

    rows = snakemake.params.rows
    collect.collect_scores(rows["runs"], snakemake.input.scores, snakemake.output.scores)
    collect.collect_runs(rows["runs"], snakemake.input.runs, snakemake.output.runs)
    collect.collect_trials(
        rows["trials"], snakemake.input.trials, snakemake.input.chosen, snakemake.output.trials
    )
    collect.collect_densities(rows["topologies"], snakemake.input.densities, snakemake.output.densities)
