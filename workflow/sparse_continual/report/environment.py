"""What the report tells of the machine: versions, machines, training time. Nothing else in it does."""

from sparse_continual import files, registry


def gather(runs: list) -> dict:
    """{versions: {name: version}, machines: [{device, processor, threads, runs, seconds}]}.

    `runs` are the paths of the study's run.json files, which hold the seconds and the machine of each
    run's training. Versions are those of the environment that writes the report.
    """
    machines: dict = {}
    for path in runs:
        run = files.read_json(path)
        key = tuple(str(run["machine"].get(name, "")) for name in ("device", "processor", "threads"))
        count, seconds = machines.get(key, (0, 0.0))
        machines[key] = (count + 1, seconds + run["seconds"])
    return {
        "versions": registry.by_name("provenance").versions(),
        "machines": [
            dict(zip(("device", "processor", "threads"), key, strict=True))
            | {"runs": n, "seconds": round(s, 1)}
            for key, (n, s) in sorted(machines.items())
        ],
    }
