from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/budgets.smk"
include: "workflow/rules/bases.smk"
include: "workflow/rules/pruning.smk"
include: "workflow/rules/streams.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/verdicts.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


# Snakemake's default limit of 100 jobs a second starts a timer after every job. From then on each timer wakes the
# scheduler once a second, and the scheduler goes through all waiting jobs. Local jobs need no limit.
onstart:
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
        if STUDY.config["warm"] and len([*workflow.dag.needrun_jobs()]) >= warm.JOBS:
            warm.start()


rule all:
    default_target: True
    input:
        f"{RESULTS}/index.csv",
        f"{RESULTS}/report/report.html",
