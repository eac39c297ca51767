"""Obtain one base model from its source: pretrain it, or use it from a folder or the hub."""

from sparse_continual.script import job

with job(snakemake) as recorded:
    import os
    from pathlib import Path

    if snakemake.rule == "download_model":  # before anything imports huggingface_hub
        os.environ["HF_HUB_OFFLINE"] = os.environ["SPARSE_CONTINUAL_HF_HUB_OFFLINE"]

    from sparse_continual import registry
    from sparse_continual.device import prepare
    from sparse_continual.streams.mixture import load_mixture

    settings = snakemake.params.settings
    folder = Path(snakemake.output[0]).parent
    seed = settings.get("seed", 0)
    prepare(snakemake.threads, seed)
    mixture = load_mixture(snakemake.input.get("mixture"))
    facts = registry.load("bases.sources", settings["source"]).obtain(
        settings, seed, folder / "model", mixture
    )
    recorded.update({"folder": folder / "model", **facts})
