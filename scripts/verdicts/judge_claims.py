from sparse_continual.script import job

with job(snakemake):
    from sparse_continual.verdicts.findings import judge_study

    inputs, plan = snakemake.input, snakemake.params.plan
    kinds = ("differences", "flags", "instrument")
    streams = {name: {kind: inputs[kind][i] for kind in kinds} for i, name in enumerate(plan["streams"])}
    judge_study(streams, inputs.deviations, inputs.budget, plan, snakemake.output)
