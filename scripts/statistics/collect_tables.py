from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.statistics import collect

    rows, given = snakemake.params.rows, snakemake.input
    made = {Path(path).stem: path for path in snakemake.output.tables}
    collect.collect_scores(rows["runs"], given.scores, made["scores"])
    collect.collect_items(rows["runs"], given.by_item, made["items"])
    collect.collect_runs(rows["runs"], given.runs, made["runs"])
    collect.collect_trials(rows["trials"], given.trials, given.chosen, made["trials"])
    collect.collect_densities(rows["topologies"], given.densities, made["densities"])
    # the rest where the study asks for it
    if "references" in made:
        collect.collect_references(rows["references"], given.references, made["references"])
    if "repeats" in made:
        collect.collect_scores(rows["repeats"], given.repeats, made["repeats"])
    if "savings" in made:
        collect.collect_savings(rows["runs"], given.savings, made["savings"])
    if "calibrated" in made:
        collect.collect_scores(rows["runs"], given.calibrated, made["calibrated"])
