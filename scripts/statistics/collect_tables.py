from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.pruning.tables import DENSITIES
    from sparse_continual.runs.tables import SECONDARY
    from sparse_continual.scores.tables import ITEMS
    from sparse_continual.statistics import collect

    rows, given = snakemake.params.rows, snakemake.input
    made = {Path(path).stem: path for path in snakemake.output.tables}
    collect.collect_scores(rows["runs"], given.scores, made["scores"])
    collect.collect(rows["runs"], given.by_item, ITEMS, made["items"])
    collect.collect_runs(rows["runs"], given.runs, made["runs"])
    collect.collect_trials(rows["trials"], given.trials, given.chosen, made["trials"])
    collect.collect(rows["topologies"], given.densities, DENSITIES, made["densities"])
    # further tables if the study asks for them
    if "references" in made:
        collect.collect_references(rows["references"], given.references, made["references"])
    if "repeats" in made:
        collect.collect_scores(rows["repeats"], given.repeats, made["repeats"])
    if "calibrated" in made:
        collect.collect_scores(rows["runs"], given.calibrated, made["calibrated"])
    for table in SECONDARY:
        if table.name in made:
            paths = [path for path in given.secondary if Path(path).stem == table.name]
            collect.collect(rows["runs"], paths, table, made[table.name])
