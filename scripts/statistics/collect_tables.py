from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.pruning.tables import DENSITIES
    from sparse_continual.runs.tables import SECONDARY
    from sparse_continual.scores.tables import ITEMS
    from sparse_continual.statistics import collect

    rows, inputs = snakemake.params.rows, snakemake.input
    outputs = {Path(path).stem: path for path in snakemake.output.tables}
    collect.collect_scores(rows["runs"], inputs.scores, outputs["scores"])
    collect.collect(rows["runs"], inputs.by_item, ITEMS, outputs["items"])
    collect.collect_runs(rows["runs"], inputs.runs, outputs["runs"])
    collect.collect_trials(rows["trials"], inputs.trials, inputs.chosen, outputs["trials"])
    collect.collect(rows["topologies"], inputs.densities, DENSITIES, outputs["densities"])
    # further tables if the study asks for them
    if "references" in outputs:
        collect.collect_references(rows["references"], inputs.references, outputs["references"])
    if "repeats" in outputs:
        collect.collect_scores(rows["repeats"], inputs.repeats, outputs["repeats"])
    if "calibrated" in outputs:
        collect.collect_scores(rows["runs"], inputs.calibrated, outputs["calibrated"])
    for table in SECONDARY:
        if table.name in outputs:
            paths = [path for path in inputs.secondary if Path(path).stem == table.name]
            collect.collect(rows["runs"], paths, table, outputs[table.name])
