from sparse_continual.budgets.demand import priced, prunings

# facts that only checkpoints have: manifests of downloads, and counts of pruned ones
CHECKPOINTS = sorted(
    {
        path
        for stream in STUDY.streams
        for row in priced(STUDY, stream)
        for path in [
            row["densities"] if "densities" in row else None,
            row["model"] if not row["shape"] else None,
        ]
        if path
    }
)
# a plan downloads nothing: it uses declarations until all of these exist
AT_HAND = all(Path(path).exists() for path in CHECKPOINTS)
# code of the methods and allocations, which count their own passes
PRICED = sorted({name for row in prunings(STUDY) for name in topology_variants(row["making"]["topology"])})


rule compute_budgets:
    input:
        CHECKPOINTS,
    output:
        budget=f"{RESULTS}/budget.csv",
        manifest=manifest_beside("compute_budgets"),
    log:
        f"{RESULTS}/logs/compute_budgets.log",
    threads: 1
    resources:
        **OF_TABLES,
    params:
        asked=lambda wc, input: asked_of(input),
        rows=canonical({stream: priced(STUDY, stream) for stream in STUDY.streams}),
        code=code("scripts/budgets/compute_budgets.py", *PRICED),
    script:
        "../../scripts/budgets/compute_budgets.py"


rule plan:
    input:
        budget=f"{RESULTS}/budget.csv" if AT_HAND else [],
        manifest=manifest_beside("compute_budgets") if AT_HAND else [],
        streams=[
            STUDY.stream(stream, STUDY.conditions[0], STUDY.blocks[0]).manifest
            for stream in STUDY.streams
            if AT_HAND
        ],
    localrule: True
    run:
        from sparse_continual.budgets.plan import plan_text

        print(plan_text(STUDY, input.budget, input.streams) if AT_HAND else plan_text(STUDY))
