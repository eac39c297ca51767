"""Obtain one base model from its source: pretrain it, or find it in a folder or on the hub."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual import registry
    from sparse_continual.files import read_manifest, write_manifest
    from sparse_continual.models.train import prepare
    from sparse_continual.streams.tasks import load_tasks

    settings = snakemake.params.settings
    folder = Path(snakemake.output[0]).parent
    seed = settings.get("seed", 0)
    prepare(snakemake.threads, seed)
    mixture = []
    if "mixture" in snakemake.input.keys():
        manifest = read_manifest(snakemake.input.mixture)
        tasks = load_tasks(manifest["folder"])
        mixture = list(zip(manifest["shares"], [task.train for task in tasks], strict=True))
    facts = registry.load("models.sources", settings["source"]).obtain(
        settings, seed, folder / "model", mixture
    )
    write_manifest(snakemake.output[0], facts.pop("folder", folder / "model"), **facts)
