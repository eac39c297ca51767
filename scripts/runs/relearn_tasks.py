"""Train a few steps on each old task, from a run's last weights and from its base."""

from sparse_continual.script import job

with job(snakemake):
    from pathlib import Path

    from sparse_continual.csv_text import csv_text
    from sparse_continual.device import device_of
    from sparse_continual.files import read_json, write
    from sparse_continual.runs.inputs import located
    from sparse_continual.runs.savings import relearn

    params, inputs = snakemake.params, snakemake.input
    job_ = {
        **params.run,
        **located(inputs.base, inputs.stream, inputs.get("like")),
        "folder": Path(inputs.run).parent,
        "learning_rate": read_json(Path(inputs.tuning).parent / "chosen.json")["learning_rate"],
    }
    device = device_of(snakemake.resources.gpu)
    run = read_json(Path(inputs.run).parent / "run.json")
    rows = relearn(job_, run, params.settings["steps"], snakemake.threads, device)
    write(snakemake.output.savings, csv_text(rows, list(rows[0])))
