"""What the report tells of the machine: versions, machines, training time. Nothing else in it does."""

from sparse_continual import files

PACKAGES = "torch transformers tokenizers safetensors peft numpy scipy pandas statsmodels matplotlib snakemake".split()


def gather(runs: list) -> dict:
    """{versions: {name: version}, machines: [{device, processor, threads, runs, seconds}]}.

    `runs` are the paths of the study's run.json files, which hold the seconds and the machine of each
    run's training. Versions are those of the environment that writes the report.
    """
    import platform
    from importlib.metadata import version

    import sparse_continual

    machines: dict = {}
    for path in runs:
        run = files.read_json(path)
        key = tuple(str(run["machine"].get(name, "")) for name in ("device", "processor", "threads"))
        count, seconds = machines.get(key, (0, 0.0))
        machines[key] = (count + 1, seconds + run["seconds"])
    names = {"sparse_continual": sparse_continual.__version__, "python": platform.python_version()}
    return {
        "versions": names | {name: version(name) for name in PACKAGES},
        "machines": [
            dict(zip(("device", "processor", "threads"), key, strict=True))
            | {"runs": n, "seconds": round(s, 1)}
            for key, (n, s) in sorted(machines.items())
        ],
    }
