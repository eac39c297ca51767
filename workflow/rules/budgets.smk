rule compute_budgets:
    input:
        sorted({row["model"] for stream in STUDY.streams for row in STUDY.priced(stream) if not row["shape"]}),
    output:
        f"{RESULTS}/budget.csv",
    log:
        f"{RESULTS}/logs/compute_budgets.log",
    threads: 1
    resources:
        mem_mb=300,
        runtime=5,
    params:
        rows=canonical({stream: STUDY.priced(stream) for stream in STUDY.streams}),
        code=code("scripts/budgets/compute_budgets.py"),
    script:
        "../../scripts/budgets/compute_budgets.py"


rule plan:
    input:
        budget=f"{RESULTS}/budget.csv",
        streams=[
            STUDY.stream(stream, STUDY.conditions[0], STUDY.blocks[0]).manifest for stream in STUDY.streams
        ],
    localrule: True
    run:
        from sparse_continual.budgets.plan import plan_text

        print(plan_text(STUDY, input.budget, input.streams))
