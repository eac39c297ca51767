"""Make one sparse (or dense) model: prune, train on with the topology fixed, count what is left."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.csv_text import csv_text
    from sparse_continual.files import read_manifest, write, write_manifest
    from sparse_continual.models.train import prepare
    from sparse_continual.streams.tasks import load_tasks
    from sparse_continual.topologies.make import make_topology

    settings = snakemake.params.settings
    folder = Path(snakemake.output.manifest).parent
    prepare(snakemake.threads, settings["seed"])
    mixture = []
    if "mixture" in snakemake.input.keys():
        manifest = read_manifest(snakemake.input.mixture)
        tasks = load_tasks(manifest["folder"])
        mixture = list(zip(manifest["shares"], [task.train for task in tasks], strict=True))
    model = read_manifest(snakemake.input.model)
    trusted = model.get("trust_remote_code", False)
    facts, densities = make_topology(settings, model["folder"], mixture, folder, settings["seed"], trusted)
    write(snakemake.output.densities, csv_text(densities, list(densities[0])))
    write_manifest(snakemake.output.manifest, facts.pop("folder"), **facts)
