"""What every column of every table means; printed in the report's appendix.

Scores and metrics are shares (0.05 is 5 points). "Interval" is the two-sided t interval over blocks.
"""

_ARM = {"condition": "name of the condition", "block": "name of the block, the unit of replication"}
_INTERVAL = {
    "n": "number of blocks with a defined value",
    "mean": "mean over blocks",
    "sd": "standard deviation over blocks (n - 1)",
    "lower": "lower end of the interval; empty when there is one block or no variance",
    "upper": "upper end of the interval; empty when there is one block or no variance",
}
_METRIC = {
    "metric": "name of the metric; definitions in the list of metrics",
    "scale": "raw, or corrected: (score - chance) / (ceiling - chance) before the metric is taken",
}
_NOTE = {"note": "why an interval or a test is missing, or which blocks are left out"}
_SCORE = {
    "after": "number of tasks trained before this score, 0 before the stream",
    "task": "name of the task; base is the mixture that the base was pretrained on",
    "position": "place of the task in this block's order, from 1; 0 for the base's own mixture",
}

METRICS = {
    "forgetting": "mean over tasks but the last of: score right after its training less score at the"
    " end (primary)",
    "forward_transfer": "mean over tasks but the first of: score right before its training less score"
    " before the stream (primary)",
    "fraction_lost": "share of what was gained on the tasks but the last that is lost at the end; empty"
    " if nothing was gained",
    "learning_accuracy": "mean over tasks of the score right after its training",
    "average_accuracy": "mean over tasks of the score at the end",
    "backward_transfer": "minus forgetting",
    "forgetting_max": "forgetting from the best score instead of the one right after training; biased"
    " upwards by noise",
    "base_retention": "score on the base's own mixture at the end less before the stream; 0 keeps all",
}

TABLES = {
    "scores": {
        **_ARM,
        **_SCORE,
        "part": "all items of the task, or a named part of them",
        "score": "share right on the test split",
        "loss": "mean loss on the test split, in nats",
        "items": "number of test items",
        "chance": "score of guessing",
        "ceiling": "best possible score",
    },
    "runs": {
        **_ARM,
        "position": "place of the task in this block's order, from 1",
        "task": "name of the task",
        "steps": "optimiser steps",
        "stop": "why training stopped: steps, criterion or cap",
        "tokens": "training tokens",
        "learning_rate": "learning rate, as chosen by tuning",
        "validation_loss": "loss on the validation split at the end of this task, in nats",
        "trained": "number of trainable values",
        "update_norm": "norm of the change of the weights over this task",
        "relative_update": "the same over the norm of the weights",
        "ends_share": "share of the squared update in embeddings, head and norms",
    },
    "trials": {
        **_ARM,
        "learning_rate": "learning rate of the trial",
        **_SCORE,
        "score": "share right on the validation split of a tuning block",
        "loss": "mean loss on that split, in nats",
        "chance": "score of guessing",
        "ceiling": "best possible score",
        "chosen": "whether this learning rate was chosen for the condition",
    },
    "densities": {
        "topology": "name of the topology",
        "block": "name of the block whose base was pruned",
        "matrix": "name of the weight matrix",
        "layer": "number of the decoder layer, from 0",
        "module": "kind of matrix within the layer",
        "weights": "number of places in the matrix",
        "nonzeros": "number of weights that exist",
        "density": "nonzeros / weights",
        "pattern": "pattern of the topology",
    },
    "orders": {
        "stream": "name of the stream",
        "block": "name of the block",
        "position": "place in the order, from 1",
        "task": "name of the task",
    },
    "metrics": {
        **_ARM,
        "part": "all items, or a named part of them",
        **_METRIC,
        "value": "value of the metric",
    },
    "summary": {
        "condition": "name of the condition",
        "part": "all items, or a named part of them",
        **_METRIC,
        **_INTERVAL,
        **_NOTE,
    },
    "differences": {
        "contrast": "name of the contrast",
        "family": "family of the contrast",
        **_METRIC,
        "block": "name of the block",
        "difference": "sum of the plus conditions less sum of the minus conditions in this block",
    },
    "contrasts": {
        "contrast": "name of the contrast, an estimand of its own",
        "family": "contrasts whose tests on both primary metrics are adjusted together",
        "plus": "conditions that count positively",
        "minus": "conditions that count negatively",
        "metric": "name of the metric",
        "role": "primary: tested and judged; beside: described only",
        **_INTERVAL,
        "simultaneous_lower": "lower end of the interval widened for all tests of the family (Bonferroni)",
        "simultaneous_upper": "upper end of the same",
        "t": "paired t statistic",
        "df": "its degrees of freedom",
        "p": "two-sided p of the t test; of the sign-flip test where there is no variance",
        "p_source": "which of the two tests p is from",
        "tests": "number of tests in the family",
        "holm_p": "p adjusted over the family by Holm's method",
        "sign_flip_p": "two-sided p of the exact sign-flip test",
        "sign_flip_holm_p": "the same, adjusted over the family by Holm's method",
        "sign_flip_smallest": "smallest p that the sign-flip test can reach with these blocks",
        "exact_reaches_level": "whether that is below the level",
        "exact_reaches_holm": "whether that is below the level divided by the number of tests",
        "d_z": "mean over standard deviation of the differences",
        "hedges_g": "d_z corrected for small n",
        "detectable": "smallest true difference found with power .8 at this n and spread, adjusted for"
        " the family",
        "corrected_mean": "mean difference of the chance-corrected metric",
        "corrected_lower": "lower end of its interval",
        "corrected_upper": "upper end of its interval",
        "learning_difference": "mean difference in learning accuracy",
        "learning_lower": "one-sided lower bound of that difference",
        "gate_passed": "whether that bound is above minus the margin",
        "level": "error rate of tests and intervals",
        "margin": "by how much the plus side may learn less",
        "bases": "whether each block has its own base, or all start from one checkpoint",
        "verdict": "descriptive, gate failed, shown or not distinguished",
        **_NOTE,
    },
    "flags": {
        "kind": "floor: never more than .05 above chance; not learnt: within .05 of chance right after"
        " its training; cap: stopped before the criterion was met",
        **_ARM,
        "position": "place of the task in this block's order, from 1",
        "task": "name of the task",
        "part": "all items, or a named part of them",
        "value": "score less chance, or steps for cap",
    },
    "frontier": {
        "condition": "name of the condition",
        "learning_rate": "learning rate of the trial",
        "block": "name of the tuning block",
        "chosen": "whether this learning rate was chosen for the condition",
        "learning_accuracy": "mean over tasks of the validation score right after training",
        "forgetting": "forgetting of the trial, on validation scores",
    },
}
