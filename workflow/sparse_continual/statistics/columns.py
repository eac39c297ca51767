"""What every column of every table means; printed in the report's appendix.

Scores and metrics are shares (0.05 is 5 points), or bits where the scale says so. "Interval" is the
two-sided t interval over units; the unit is the block, or the base where blocks share several bases.
"""

_ARM = {"condition": "name of the condition", "block": "name of the block, the unit of replication"}
_INTERVAL = {
    "n": "number of units with a defined value",
    "mean": "mean over units",
    "sd": "standard deviation over units (n - 1)",
    "lower": "lower end of the interval; empty when there is one unit or no variance",
    "upper": "upper end of the interval; empty when there is one unit or no variance",
}
_METRIC = {
    "metric": "name of the metric; definitions in the list of metrics",
    "scale": "raw; corrected: (score - chance) / (ceiling - chance) before the metric is taken; bits: of minus"
    " the loss, in bits per answer token; calibrated: raw, of options with their prior taken out",
}
_CONTRAST = {
    "contrast": "name of the contrast, an estimand of its own",
    "estimand": "what kind of difference it is: lock, writes, same_shape, matched_nonzeros, matched_flops,"
    " stacking, load, level, as_published or other; never pooled",
}
_NOTE = {"note": "why a cell is empty, which blocks are left out, or what limits the row"}
_SCORE = {
    "after": "number of tasks trained before this score, 0 before the stream",
    "task": "name of the task; base is the mixture that the base was pretrained on",
    "position": "place of the task in this block's order, from 1; 0 for the base's own mixture",
}

_ITEMS = {
    "score": "share right on the test split",
    "loss": "mean loss on the test split, in nats",
    "items": "number of test items",
    "chance": "score of guessing",
    "ceiling": "best possible score",
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
    "anytime_average": "mean of the tasks trained so far, averaged over the stream",
    "backward_transfer": "minus forgetting",
    "forgetting_max": "forgetting from the best score instead of the one right after training; biased"
    " upwards by noise",
    "worst_forgetting": "forgetting of the task that lost most; biased upwards by noise",
    "retention_area": "share of what was gained that is held, averaged over the rest of the stream; empty if"
    " nothing was gained",
    "plasticity_loss": "fall per position of the score right after training",
    "forward_transfer_single": "mean over tasks but the first of: score right after its training less that of a"
    " run on this task alone",
    "intransigence": "mean over tasks of: score of a run on all tasks so far together less score right after"
    " its training",
    "intransigence_last": "the same of the last task alone",
    "savings": "mean over old tasks of: score after a few steps from the end of the stream less score after the"
    " same steps from the base",
    "base_retention": "score on the base's own mixture at the end less before the stream; 0 keeps all",
}

TABLES = {
    "scores": {
        **_ARM,
        **_SCORE,
        "part": "all items of the task, or a named part of them",
        **_ITEMS,
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
    "perplexities": {
        "topology": "name of the topology",
        "block": "name of the block whose base was pruned",
        "stage": "base: before anything was done; pruned; trained: after pretraining under the mask, at init;"
        " recovered",
        "perplexity": "exp of the mean loss, in nats, on held-out text of the base's own kind",
        "tokens": "counted tokens of that text",
    },
    "layer_errors": {
        "topology": "name of the topology",
        "block": "name of the block whose base was pruned",
        "matrix": "name of the weight matrix",
        "layer": "number of the decoder layer, from 0",
        "module": "kind of matrix within the layer",
        "error": "norm of W X - V X over norm of W X: W before and V after pruning, X what the dense model gives the"
        " matrix on calibration text",
    },
    "costs": {
        "topology": "name of the topology",
        "block": "name of the block whose base was pruned",
        "stage": "the stage that the step led to: pruned, trained or recovered",
        "seconds": "wall seconds of the step, measuring left out",
        "peak_bytes": "highest memory of the process during the step",
        "added_bytes": "that less what the process held when the step began",
    },
    "items": {
        **_ARM,
        **_SCORE,
        "scores": "score of each test item, in the order of the test split",
    },
    "references": {
        "kind": "single: runs on one task each; joint: runs on all tasks up to one",
        **_ARM,
        **_SCORE,
        "part": "all items of the task, or a named part of them",
        **_ITEMS,
    },
    "repeats": {
        **_ARM,
        **_SCORE,
        "part": "all items of the task, or a named part of them",
        **_ITEMS,
    },
    "savings": {
        **_ARM,
        "task": "name of the task",
        "position": "place of the task in this block's order, from 1",
        "steps": "optimiser steps on the task alone",
        "score_old": "test score after them, from the weights at the end of the stream",
        "score_base": "test score after them, from the base",
    },
    "calibrated": {
        **_ARM,
        **_SCORE,
        "part": "all items of the task, or a named part of them",
        **(_ITEMS | {"score": "share right on the test split, the prior of each option taken out"}),
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
        **_CONTRAST,
        **_METRIC,
        "block": "name of the block",
        "base": "base that the block starts from",
        "difference": "sum of the plus conditions less sum of the minus conditions in this block; of a load"
        " contrast, on this stream alone",
    },
    "contrasts": {
        **_CONTRAST,
        "plus": "conditions that count positively",
        "minus": "conditions that count negatively; none for a level",
        **_METRIC,
        "role": "primary: tested; beside: described only",
        "n": _INTERVAL["n"],
        "unit": "what is counted as n: block, or base where blocks share several bases",
        **{key: _INTERVAL[key] for key in ("mean", "sd", "lower", "upper")},
        "median": "median over units",
        "skewed": "whether the sample skewness is beyond 1, so that the bootstrap-t interval counts too",
        "bootstrap_lower": "lower end of the bootstrap-t interval; empty below five units",
        "bootstrap_upper": "upper end of the same",
        "t": "paired t statistic",
        "df": "its degrees of freedom",
        "p": "two-sided p of the t test, adjusted for nothing; of the sign-flip test where there is no variance",
        "p_source": "which of the two tests p is from",
        "sign_flip_p": "two-sided p of the sign-flip test, adjusted for nothing",
        "sign_flip_error": "standard error of sign_flip_p: 0 up to 20 units, of which all signs are enumerated",
        "sign_flip_smallest": "smallest p that the sign-flip test can reach with these units",
        "d_z": "mean over standard deviation of the differences",
        "hedges_g": "d_z corrected for small n",
        "learning_difference": "mean difference in learning accuracy; empty for a level",
        "learning_lower": "one-sided lower bound of that difference",
        "gate_passed": "whether that bound is above minus the margin; a level has no gate and passes",
        "level": "error rate of tests and intervals",
        "margin": "by how much the plus side may learn less",
        "bases": "whether each block has its own base, or all start from one checkpoint",
        **_NOTE,
    },
    "flags": {
        "kind": "floor: never more than .05 above chance; not learnt: within .05 of chance right after"
        " its training; collapse: a run of which half of the tasks or more were not learnt; cap: stopped before"
        " the criterion was met",
        **_ARM,
        "position": "place of the task in this block's order, from 1; 0 for a run as a whole",
        "task": "name of the task",
        "part": "all items, or a named part of them",
        "value": "score less chance; of a collapse the share of tasks; of a cap the steps",
    },
    "frontier": {
        "condition": "name of the condition",
        "learning_rate": "learning rate of the trial",
        "block": "name of the tuning block",
        "chosen": "whether this learning rate was chosen for the condition",
        "learning_accuracy": "mean over tasks of the validation score right after training",
        "validation_loss": "mean over tasks of the validation loss right after training, in nats",
        "forgetting": "forgetting of the trial, on validation scores",
    },
    "frontier_blocks": {
        "contrast": _CONTRAST["contrast"],
        "at": "learning or validation_loss: at the level that all arms reach, each on the curve over its grid of"
        " rates; tuned: at each arm's chosen rate",
        "block": "name of the tuning block",
        "value": "that level; at tuned rates the difference in learning accuracy",
        "difference": "difference in forgetting there; empty where an arm learns more at its smallest rate",
    },
    "frontier_contrasts": {
        **_CONTRAST,
        "at": "where forgetting is compared, as in frontier_blocks",
        **{key: value.replace("units", "tuning blocks") for key, value in _INTERVAL.items()},
        **_NOTE,
    },
    "components": {
        "metric": "name of the metric, on raw scores",
        "condition_or_contrast": "name of the condition; contrast: and its name; or all conditions, of the mixed"
        " model",
        "component": "block: spread over blocks, all else included; items: the sample of test items; repeat: one"
        " run made twice; in the mixed model base, block, residual (condition x block) and condition",
        "sd": "standard deviation of the metric from this source",
        "share": "its share of the variance over blocks; in the mixed model of base, block and residual",
        **_NOTE,
    },
    "sensitivity": {
        **_CONTRAST,
        "metric": "name of the metric, on raw scores",
        "left_out": "what is left out: none, block, position or task",
        "which": "its name",
        **{key: _INTERVAL[key] for key in ("n", "mean", "lower", "upper")},
    },
    "specification": {
        **_CONTRAST,
        **_METRIC,
        "part": "all items, or a named part of them",
        "estimator": "mean or median over units",
        "n": _INTERVAL["n"],
        "mean": "the estimate",
        "lower": "lower end of the t interval; of a median, of its interval by order statistics",
        "upper": "upper end of the same",
        "primary": "whether this is the study's primary choice; all others are exploratory",
    },
    "retention": {
        **_ARM,
        "after": "number of tasks trained",
        "retained_bits": "bits of the answers to the test items of all tasks trained so far that the scores show"
        " to be known, beyond those known before the stream",
        "learning": "score of the newest task right after its training",
        "plasticity": "what that training added to its score",
    },
    "slopes": {
        "condition": "name of the condition",
        "quantity": "retained_bits, or the running sum of learning or of plasticity",
        "n": "number of units",
        "ratio": "mean slope over the last third of the stream over mean slope over the first third; 1 is steady",
        "lower": "lower end of Fieller's interval of the ratio; empty where it is unbounded",
        "upper": "upper end of the same",
        "simultaneous_lower": "lower end of the interval widened for all conditions (Bonferroni)",
        "simultaneous_upper": "upper end of the same",
        **_NOTE,
    },
    "claims": {
        "claim": "name of the claim",
        "role": "confirmatory, exploratory, or component of another claim",
        "rule": "superiority, noninferiority, equivalence, all_of (all its members must hold) or untested",
        "stream": "name of the stream; a - b for a contrast between two",
        **_CONTRAST,
        "metric": "name of the metric, on raw scores",
        "direction": "whether the claim says less or more",
        "claim_margin": "margin of equivalence or non-inferiority",
        "n": _INTERVAL["n"],
        "unit": "what is counted as n",
        **{key: _INTERVAL[key] for key in ("mean", "sd", "lower", "upper")},
        "simultaneous_lower": "lower end of the interval widened for all separate confirmatory claims",
        "simultaneous_upper": "upper end of the same",
        "bootstrap_lower": "lower end of the bootstrap-t interval, where differences are skewed or an arm collapsed",
        "bootstrap_upper": "upper end of the same",
        "p": "two-sided p of the claim's test; of all_of the largest of its members",
        "p_source": "which test p is from",
        "tests": "number of separate confirmatory claims",
        "holm_p": "the larger of p and gate_p, adjusted over them by Holm's method",
        "sign_flip_p": "two-sided p of the sign-flip test",
        "sign_flip_error": "standard error of sign_flip_p: 0 up to 20 units, of which all signs are enumerated",
        "sign_flip_smallest": "smallest p that the sign-flip test can reach with these units",
        "exact_reaches_level": "whether that is below the level",
        "tost_p": "larger p of the two one-sided tests that the difference lies within the margin",
        "equivalence_lower": "lower end of the interval that those tests look at",
        "equivalence_upper": "upper end of the same",
        "detectable": "smallest true difference found with power .8 at this n and spread, adjusted for all tests",
        "tost_power": "chance that equivalence is shown when there is no difference, in learning neither",
        "learning_difference": "mean difference in learning accuracy",
        "learning_lower": "one-sided lower bound of that difference",
        "learning_upper": "one-sided upper bound of that difference",
        "gate_side": "the side that must be shown to learn no less",
        "gate_p": "one-sided p that the side that the estimate points to learnt no less, up to the margin; 0"
        " where there is no gate",
        "gate_passed": "whether it is, up to the learning margin",
        "learning_sd": "standard deviation over units of the difference in learning accuracy",
        "members": "claims that must all hold",
        "failed_members": "those of them that do not",
        "level": "error rate of tests and intervals",
        "margin": "learning margin",
        "bases": "whether each block has its own base, or all start from one checkpoint",
        "phase": "demonstration, pilot or confirmatory",
        "verdict": "shown, contradicted, equivalent, not distinguished, descriptive, gate failed, exploratory or"
        " not tested",
        "figure": "figure that shows it",
        **_NOTE,
    },
    "loads": {
        "stream": "name of the stream",
        "bits_per_nonzero": "bits of all facts of the stream per weight that exists",
        **_CONTRAST,
        "metric": "name of the metric, on raw scores",
        **_INTERVAL,
    },
    "power": {
        "source": "where the spread is from: planning value, pilot, or this study",
        "stream": "name of the stream",
        "contrast": "name of the contrast",
        "metric": "name of the metric",
        "n": "number of units",
        "sd": "standard deviation of a paired difference",
        "level": "error rate of the tests together",
        "tests": "number of tests adjusted together",
        "detectable": "smallest true difference found with power .8",
        "blocks_for_effect": "units needed to find the wished effect with power .8",
        "effect": "difference that the study wishes to be able to see",
        "margin": "margin of equivalence",
        "tost_power": "chance that equivalence is shown when there is no difference, in learning neither",
        "gate_power": "chance that an arm that learns as much passes the learning gate; empty without a gate",
        "exact_reaches": "whether the sign-flip test can reach the level with n units",
    },
    "instrument": {
        "check": "what was checked",
        "arm": "arm or contrast it was checked on",
        "passed": "true, false, or not applicable",
        "value": "what was found",
        "expected": "what was expected",
        "why": "what is wrong, where it failed",
    },
    "deviations": {
        "kind": "kind of deviation from the registration",
        "what": "what deviates",
        "planned": "as registered",
        "run": "as run",
    },
}
