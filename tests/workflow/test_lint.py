"""`snakemake --lint` finds nothing but what is listed here with a reason."""

import re

from driver import ROOT, snakemake, tiny

EXCEPTIONS = {
    "Environment variable (SPARSE_CONTINUAL_REPLACE_CONFIG|HF_HUB_OFFLINE) used but not asserted": (
        "both have defaults and may be missing; envvars would demand them"
    ),
    "Specify a conda environment or container for each rule": (
        "all jobs use the one pinned environment that runs Snakemake (envs/environment.yaml)"
    ),
    "No log directive defined": "the plan goes to the terminal",
    "Mixed rules and functions in same snakefile": (
        "an input function stands beside the one rule that uses it; shared ones are in common.smk"
    ),
}


def test_lint(tmp_path):
    done = snakemake(ROOT, tmp_path, *tiny("--lint"))
    findings = re.findall(r"^    \* (.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert findings, done.stderr
    assert not [text for text in findings if not any(re.match(known, text) for known in EXCEPTIONS)]
    assert all(any(re.match(known, text) for text in findings) for known in EXCEPTIONS)
