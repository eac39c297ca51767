"""Check the study's own instrument before any verdict.

Each check runs the study's metrics, tables and judge on data with a known right answer:
- `worked example`: the metrics of one small matrix, computed by hand;
- `planted arm`: an arm that merely learns less, R' = R0 + (R - R0) / 2 of the minus arm of a contrast, must not
  come out as forgetting less than that arm; `planted arm, transfer`: nor as having more forward transfer;
- `identical arms`: a copy of every arm under another name, with its rows shuffled, must differ from it by exactly 0 on
  every metric and scale, and nothing may be shown about it;
- `nothing forgotten`: an arm whose mechanism cannot forget must have a forgetting of exactly 0.

Planted arms and copies are processed like every arm: scores, matrices, metrics, paired differences, judge. If the judge
can only describe (below six units, or if the exact test cannot reach the level), the check is `not applicable` and not
passed. A failed check stops the study before its claims are judged.
"""

import numpy as np

from sparse_continual import tables
from sparse_continual.errors import UserError
from sparse_continual.statistics import compare, matrices, metric_table, metrics
from sparse_continual.statistics.contrasts import units
from sparse_continual.statistics.gate import LEARNING
from sparse_continual.verdicts.judge import judge
from sparse_continual.verdicts.tables import INSTRUMENT
from sparse_continual.verdicts.verdict import MINIMUM_BLOCKS

PASSED, FAILED, IDLE = "true", "false", "not applicable"  # column passed
# After tasks 0 (before the stream) to 4, of tasks 1 to 4; and by hand, from the definitions.
WORKED = (
    (0.40, 0.25, 0.30, 0.20),
    (0.80, 0.30, 0.20, 0.10),
    (0.70, 0.80, 0.35, 0.15),
    (0.75, 0.90, 0.85, 0.40),
    (0.85, 0.60, 0.65, 0.70),
)
BY_HAND = {
    "forgetting": 0.35 / 3,  # (-.05 + .20 + .20) / 3
    "forward_transfer": 0.30 / 3,  # (.05 + .05 + .20) / 3
    "learning_accuracy": 3.15 / 4,  # (.80 + .80 + .85 + .70) / 4
}
OTHER = "{} again"  # no name of a condition has a space


def check_tables(scores_path, output, plan: dict) -> None:
    """Write the checks of one stream to `output` (instrument.csv).

    scores_path: tables/scores.csv; plan: {contrasts, level, learning_margin, bases, kept: conditions that cannot
    forget}.
    """
    rows = checks(tables.read(scores_path), plan["contrasts"], plan)
    tables.write(output, INSTRUMENT.frame(rows))


def checks(scores, contrasts: list[dict], settings: dict) -> list[dict]:
    """Rows of the table INSTRUMENT, one per check and arm.

    scores: scores.csv as a DataFrame; settings: level, learning_margin, bases ({block: base}), kept (conditions
    that cannot forget).
    """
    scores = scores[(scores.position > 0) & (scores.part == "all")]
    arms = {condition: rows for condition, rows in scores.groupby("condition", sort=False)}
    results = [_worked()]
    minus = dict.fromkeys(c["minus"][0] for c in contrasts if len(c["plus"]) == len(c["minus"]) == 1)
    for arm in minus:
        results += _planted(arm, arms[arm], settings)
    results += [_itself(arm, rows, settings) for arm, rows in arms.items()]
    return results + [_kept(arm, arms[arm]) for arm in settings["kept"]]


def refuse_failed(rows, where: str) -> None:
    """Raise UserError for the first failed check of `rows` (dicts).

    where: their stream.
    """
    for row in rows:
        if str(row["passed"]).lower() == FAILED:
            raise UserError(
                f"{where}: instrument check {row['check']!r} of {row['arm']}: found {row['value']}, expected"
                f" {row['expected']}: {row['why']}; fix this before any claim is judged"
            )


def forgets(kind: str) -> bool:
    """Whether mechanisms of this kind can forget: FORGETS of their class."""
    from sparse_continual.runs.mechanism import mechanism_class

    return mechanism_class(kind).FORGETS


def _worked() -> dict:
    wrong = {}
    for name, expected in BY_HAND.items():
        value = metrics.OF_MATRIX[name](np.array(WORKED))
        if not abs(value - expected) <= 1e-12:
            wrong[name] = value
    name = next(iter(wrong), "forgetting")
    value = wrong.get(name, BY_HAND[name])
    return _result(
        "worked example",
        "",
        not wrong,
        f"{name} {value:.6g}",
        f"{name} {BY_HAND[name]:.6g}",
        "the metric does not follow its definition on a matrix worked by hand",
    )


def _planted(arm: str, scores, settings: dict) -> list[dict]:
    keys = ["block", "position"]
    before = scores[scores.after == 0].set_index(keys).score
    start = before.loc[list(zip(*(scores[key] for key in keys), strict=True))].to_numpy()
    planted = scores.assign(condition=OTHER.format(arm), score=start + (scores.score - start) / 2)
    differences, _ = _differences(arm, scores, planted, settings)
    rows = []
    for check, metric, direction, words in (
        ("planted arm", "forgetting", "less", "forgetting less"),
        ("planted arm, transfer", "forward_transfer", "more", "having more forward transfer"),
    ):
        word, idle = _judged(differences, metric, direction, settings)
        why = (
            f"an arm that merely learns half as much would count as {words}; set a smaller"
            " study.statistics.learning_margin, or train the arms until they learn more than twice that margin"
        )
        rows.append(_result(check, arm, IDLE if idle else word != "shown", word, "not shown", why))
    return rows


def _itself(arm: str, scores, settings: dict) -> dict:
    copy = scores.sample(frac=1, random_state=0).assign(condition=OTHER.format(arm))
    differences, defined = _differences(arm, scores, copy, settings)
    off = differences[differences.difference != 0]
    value = "0"
    if len(off):
        worst = off.loc[off.difference.abs().idxmax()]
        value = f"{worst.metric} {abs(worst.difference):.6g}"
    elif len(differences) != defined:
        value = f"{len(differences)} differences for {defined} values"
    word, _ = _judged(differences, "forgetting", "less", settings)
    return _result(
        "identical arms",
        arm,
        value == "0" and word != "shown",
        f"{value}, {word}",
        "0, not shown",
        "two identical arms differ, so a metric or its pairing depends on something other than scores and blocks",
    )


def _kept(arm: str, scores) -> dict:
    forgetting = metrics.OF_MATRIX["forgetting"]
    largest = max((forgetting(entry.raw) for entry in matrices.of_stream(scores)), key=abs)
    return _result(
        "nothing forgotten",
        arm,
        largest == 0,
        f"{largest:.6g}",
        "0",
        "the arm's mechanism keeps each task's weights apart, yet its scores change",
    )


def _differences(arm: str, scores, other, settings: dict) -> tuple:
    """(differences.csv of `other` minus `own`, as `estimate` makes it; the number of defined values of `own`)."""
    import pandas

    values = metric_table.metric_table(matrices.of_stream(pandas.concat([scores, other], ignore_index=True)))
    frame = compare.difference_table(compare.index(values), [_contrast(arm)], settings["bases"])
    return frame, int(values.value[values.condition == arm].notna().sum())


def _contrast(arm: str) -> dict:
    return {"name": "planted", "plus": [OTHER.format(arm)], "minus": [arm], "estimand": "other"}


def _judged(differences, metric: str, direction: str, settings: dict) -> tuple[str, bool]:
    """The verdict on `metric` being less or more in the plus arm, as the only claim of a study, and whether no verdict
    was possible."""
    raw = differences[differences.scale == "raw"]
    samples = {
        ("", "planted", name): dict(zip(group.block, group.difference, strict=True))
        for name, group in raw.groupby("metric", sort=False)
        if name in (metric, LEARNING)
    }
    n = len(units(samples.get(("", "planted", metric), {}), settings["bases"])[0])
    if n < MINIMUM_BLOCKS:
        return f"{IDLE} (n < {MINIMUM_BLOCKS})", True
    claim = {"name": "planted", "rule": "superiority", "role": "confirmatory", "stream": "", "figure": ""}
    claim |= {"contrast": "planted", "metric": metric, "direction": direction}
    rules = {
        "level": settings["level"],
        "learning_margin": settings["learning_margin"],
        "bases": settings["bases"],
        "phase": "demonstration",
        "registered": None,
        "stale": (),
        "contrasts": [{"name": "planted", "plus": ["more"], "minus": ["less"], "estimand": "other"}],
        "collapsed": {},
    }
    word = judge([claim], samples, rules)[0]["verdict"]
    if word == "descriptive":
        return f"{IDLE} (the exact test cannot reach the level)", True
    return word, False


def _result(check, arm, passed, value, expected, why) -> dict:
    """passed: a bool, or IDLE."""
    passed = passed if passed == IDLE else PASSED if passed else FAILED
    row = (check, arm, passed, value, expected, why if passed == FAILED else "")
    return dict(zip(INSTRUMENT.names, row, strict=True))
