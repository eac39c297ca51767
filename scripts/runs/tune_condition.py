"""Try the learning rates of one condition on the tuning blocks, and choose."""

from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.files import read_manifest, write, write_json
    from sparse_continual.identity import sha256
    from sparse_continual.runs.tuning import COLUMNS, choose, tune
    from sparse_continual.scores.table import csv_text

    settings, given = snakemake.params.settings, snakemake.input
    like = given.like if "like" in given.keys() else [None] * len(settings["blocks"])
    blocks = [
        {
            **block,
            "model": read_manifest(base)["folder"],
            "topology": base.rpartition("/")[0],
            "like": other and other.rpartition("/")[0],
            "stream": read_manifest(stream)["folder"],
        }
        for block, base, other, stream in zip(settings["blocks"], given.base, like, given.stream, strict=True)
    ]
    rows = tune(
        {
            "resume": snakemake.params.resume,
            "identity": sha256([settings, snakemake.params.code]),
            "arm": settings["arm"],
            "training": settings["training"],
            "learning_rates": settings["learning_rates"],
            "blocks": blocks,
        },
        snakemake.threads,
        "cuda" if snakemake.resources.gpu else "cpu",
    )
    write(snakemake.output.trials, csv_text(rows, COLUMNS))
    write_json(snakemake.output.chosen, choose(rows))
