"""Make one sparse (or dense) model: prune, train with the topology fixed, count the weights."""

from sparse_continual.script import job

with job(snakemake) as recorded:
    from pathlib import Path

    from sparse_continual import registry
    from sparse_continual.csv_text import csv_text
    from sparse_continual.device import prepare
    from sparse_continual.files import write
    from sparse_continual.integrity import read_manifest
    from sparse_continual.pruning.make import make_topology
    from sparse_continual.streams.mixture import load_mixture

    settings = snakemake.params.settings
    folder = Path(snakemake.output.manifest).parent
    prepare(snakemake.threads, settings["seed"])
    mixture = load_mixture(snakemake.input.get("mixture"))
    model = read_manifest(snakemake.input.model)
    trusted = model.get("trust_remote_code", False)
    teacher = snakemake.input.get("teacher")
    teacher = read_manifest(teacher)["folder"] if teacher else None
    watch = None
    if settings.get("measure"):
        # by name, not by import: only measured models depend on the measuring code
        measure = registry.by_name("pruning.measure")
        watch = measure.Watch(measure.mixture_of(snakemake.input.get("mixture")), settings["seed"])
    # by name, not by import: a topology does not depend on the code of its price
    planned = registry.by_name("budgets.planned").planned
    planned = planned(settings["topology"], model.get("shape") or snakemake.params.shape)
    facts, densities = make_topology(
        settings, model["folder"], mixture, folder, settings["seed"], trusted, teacher, watch, planned
    )
    write(snakemake.output.densities, csv_text(densities, list(densities[0])))
    if watch:
        for table in measure.MEASURED:
            write(snakemake.output[table.name], csv_text(watch.rows[table.name], table.names[2:]))
    recorded.update(facts)
