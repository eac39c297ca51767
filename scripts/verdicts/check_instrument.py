from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.verdicts.instrument import check_tables, forgets

    plan = snakemake.params.plan
    kept = [condition for condition, kind in plan["mechanisms"].items() if not forgets(kind)]
    check_tables(snakemake.input.scores, snakemake.output.checks, plan | {"kept": kept})
