"""Build the tasks of one block's stream, or of a base's own mixture."""

from sparse_continual.script import job

with job(snakemake) as recorded:
    from pathlib import Path

    from sparse_continual.integrity import read_manifest
    from sparse_continual.models.load import load_tokenizer
    from sparse_continual.streams.build import build_mixture, build_stream
    from sparse_continual.streams.lexicon import words

    settings = snakemake.params.settings
    folder = Path(snakemake.output[0]).parent / "tasks"
    if "tokenizer" in snakemake.input.keys():
        base = read_manifest(snakemake.input.tokenizer)
        tokenizer = load_tokenizer(base["folder"], base.get("trust_remote_code", False))
    else:
        tokenizer = words()
    if "mixture" in settings:
        build_mixture(settings["mixture"], settings["seed"], tokenizer, folder)
        recorded["shares"] = [entry["share"] for entry in settings["mixture"]]
    else:
        build_stream(settings["stream"], settings["seed"], tokenizer, folder)
    recorded["folder"] = folder
