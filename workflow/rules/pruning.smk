from sparse_continual.pruning.check import is_found
from sparse_continual.pruning.tables import MEASURED

# tables of measurements of topologies in this study
MEASURES = [table.name for table in MEASURED if table.asked(STUDY.study)]


def topology_code(wc):
    settings = STUDY.get("topologies", wc.topology).settings
    topology, recovery = settings["topology"], settings["recovery"] or {}
    prunes = topology["method"] != "dense" and not is_found(topology)
    by_name = ["pruning.prune"] if prunes else []
    by_name += ["training.distillation"] if "distillation" in recovery else []
    by_name += ["pruning.measure"] if MEASURES else []
    return code("scripts/pruning/make_topology.py", *topology_variants(topology), *by_name)


rule make_topology:
    input:
        unpack(lambda wc: made_from("topologies", wc.topology, "model", "mixture", "teacher")),
    output:
        **{name: f"results/store/topologies/{{topology}}/{name}.csv" for name in MEASURES},
        manifest="results/store/topologies/{topology}/manifest.json",
        densities="results/store/topologies/{topology}/densities.csv",
    log:
        "results/store/logs/make_topology/{topology}.log",
    threads: 1
    resources:
        **resources_of("topologies", "topology"),
    params:
        settings=lambda wc: STUDY.get("topologies", wc.topology).settings,
        asked=lambda wc, input: asked_of(input),
        code=topology_code,
        # a function of `input`, so a change does not rerun the job, which compares it with the result
        shape=lambda wc, input: STUDY.shape_of_model(STUDY.get("topologies", wc.topology)),
    script:
        "../../scripts/pruning/make_topology.py"


rule collect_measures:
    input:
        **{
            name: (
                lambda wc, name=name: [
                    f"{made.path}/{name}.csv" for _, _, made in STUDY.topologies(wc.stream)
                ]
            )
            for name in [table.name for table in MEASURED]
        },
    output:
        **{table.name: f"{RESULTS}/{{stream}}/tables/{table.name}.csv" for table in MEASURED},
        manifest=manifest_beside("collect_measures", "{stream}"),
    log:
        f"{RESULTS}/logs/collect_measures/{{stream}}.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        asked=lambda wc, input: asked_of(input),
        topologies=lambda wc: [[name, block] for name, block, _ in STUDY.topologies(wc.stream)],
        code=code("scripts/pruning/collect_measures.py"),
    script:
        "../../scripts/pruning/collect_measures.py"
