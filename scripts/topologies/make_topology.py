"""Make one sparse (or dense) model: prune, train on with the topology fixed, count what is left."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.csv_text import csv_text
    from sparse_continual.files import read_manifest, write, write_manifest
    from sparse_continual.models.train import prepare
    from sparse_continual.streams.mixture import load_mixture
    from sparse_continual.topologies.make import make_topology

    settings = snakemake.params.settings
    folder = Path(snakemake.output.manifest).parent
    prepare(snakemake.threads, settings["seed"])
    mixture = load_mixture(snakemake.input.get("mixture"))
    model = read_manifest(snakemake.input.model)
    trusted = model.get("trust_remote_code", False)
    facts, densities = make_topology(settings, model["folder"], mixture, folder, settings["seed"], trusted)
    write(snakemake.output.densities, csv_text(densities, list(densities[0])))
    write_manifest(snakemake.output.manifest, facts.pop("folder"), **facts)
