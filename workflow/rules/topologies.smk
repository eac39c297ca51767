from sparse_continual import registry


def topology_code(wc):
    chosen = STUDY.get("topologies", wc.topology).settings["topology"]
    found = chosen["method"] == "dense" or hasattr(
        registry.load("topologies.methods", chosen["method"]), "read"
    )
    prune = [] if found else ["topologies.pruning"]
    return code("scripts/topologies/make_topology.py", *topology_variants(chosen), *prune)


rule make_topology:
    input:
        unpack(lambda wc: made_from("topologies", wc.topology, "model", "mixture")),
    output:
        manifest="results/store/topologies/{topology}/manifest.json",
        densities="results/store/topologies/{topology}/densities.csv",
    log:
        "results/store/logs/make_topology/{topology}.log",
    threads: 1
    resources:
        mem_mb=memory("topologies", "topology", 28),
        runtime=240,
    params:
        settings=lambda wc: STUDY.get("topologies", wc.topology).settings,
        code=topology_code,
    script:
        "../../scripts/topologies/make_topology.py"
