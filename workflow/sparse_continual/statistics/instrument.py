"""Whether the study's own instrument can be trusted, before any verdict.

Each check runs the study's metrics and its judge on data whose right answer is known:
- `worked example`: the metrics of one small matrix, computed by hand;
- `planted arm`: an arm that merely learns less, R' = R0 + (R - R0) / 2 of the minus arm of a contrast, must not
  come out as forgetting less than that arm;
- `identical arms`: every arm less itself is exactly 0 on every metric, and nothing is shown of it;
- `nothing forgotten`: an arm whose mechanism cannot forget has a forgetting of exactly 0.

A failed check stops the study before its claims are judged.
"""

import math

import numpy as np

from sparse_continual.errors import UserError
from sparse_continual.statistics import matrices, metrics, tables
from sparse_continual.statistics.judge import judge

COLUMNS = ["check", "arm", "passed", "value", "expected", "why"]
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
PLANTED, ITSELF = "planted", "itself"


def check_tables(scores_path, output, plan: dict) -> None:
    """Write the checks of one stream to `output` (instrument.csv).

    scores_path: tables/scores.csv; plan: {contrasts, level, learning_margin, bases, kept: conditions that cannot
    forget}.
    """
    import pandas

    found: dict = {}
    for entry in matrices.of_stream(tables.read(scores_path)):
        if entry.part == "all":
            found.setdefault(entry.condition, {})[entry.block] = entry.raw
    rows = checks(metrics.OF_MATRIX, found, plan["contrasts"], plan)
    tables.write(output, pandas.DataFrame(rows, columns=COLUMNS))


def checks(functions: dict, scores: dict, contrasts: list[dict], settings: dict) -> list[dict]:
    """Rows with the columns COLUMNS, one per check and arm.

    functions: metric name -> function of R; scores: {condition: {block: R of shape (T + 1, T), raw}};
    settings: level, learning_margin, bases ({block: base}), kept (conditions that cannot forget).
    """
    rows = [_worked(functions)]
    minus = dict.fromkeys(c["minus"][0] for c in contrasts if len(c["plus"]) == len(c["minus"]) == 1)
    rows += [_planted(functions, arm, scores[arm], settings) for arm in minus]
    rows += [_itself(functions, arm, scores[arm], settings) for arm in scores]
    rows += [_kept(functions, arm, scores[arm]) for arm in settings["kept"]]
    return rows


def refuse_failed(rows, where: str) -> None:
    """Raise UserError for the first failed check of `rows` (dicts with the columns COLUMNS).

    where: the stream that they are of.
    """
    for row in rows:
        if str(row["passed"]).lower() != "true":
            raise UserError(
                f"{where}: instrument check {row['check']!r} of {row['arm']}: found {row['value']}, expected"
                f" {row['expected']}: {row['why']}; nothing is judged until it is mended"
            )


def forgets(kind: str) -> bool:
    """Whether the mechanism of that kind can forget: its module's FORGETS, which only those that cannot set."""
    from sparse_continual import registry

    return getattr(registry.load("runs.mechanisms", kind), "FORGETS", True)


def _worked(functions) -> dict:
    wrong = {}
    for name, expected in BY_HAND.items():
        value = functions[name](np.array(WORKED))
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


def _planted(functions, arm: str, own: dict, settings: dict) -> dict:
    planted = {block: R[0] + (R - R[0]) / 2 for block, R in own.items()}
    word = _judged(functions, planted, own, settings)
    return _result(
        "planted arm",
        arm,
        word != "shown",
        word,
        "not shown",
        "an arm that merely learns half as much would count as forgetting less; set a smaller"
        " study.statistics.learning_margin, or train the arms until they learn more than twice that margin",
    )


def _itself(functions, arm: str, own: dict, settings: dict) -> dict:
    largest, where = 0.0, ""
    for name, function in functions.items():
        for R in own.values():
            difference = function(R) - function(R)
            if not (difference == 0 or math.isnan(difference)) and abs(difference) >= largest:
                largest, where = abs(difference), name
    word = _judged(functions, own, own, settings)
    return _result(
        "identical arms",
        arm,
        not where and word != "shown",
        f"{where} {largest:.6g}, {word}" if where else f"0, {word}",
        "0, not shown",
        "two identical arms differ, so a metric does not depend on its scores alone",
    )


def _kept(functions, arm: str, own: dict) -> dict:
    largest = max((functions["forgetting"](R) for R in own.values()), key=abs)
    return _result(
        "nothing forgotten",
        arm,
        largest == 0,
        f"{largest:.6g}",
        "0",
        "the arm's mechanism keeps each task's weights apart, yet its scores change",
    )


def _judged(functions, plus: dict, minus: dict, settings: dict) -> str:
    """The verdict on the claim that `plus` forgets less, as the only claim of a study."""
    contrast = {"name": PLANTED, "plus": [PLANTED], "minus": [ITSELF], "estimand": "other"}
    claim = {"name": PLANTED, "rule": "superiority", "role": "confirmatory", "stream": "", "figure": ""}
    claim |= {"contrast": PLANTED, "metric": "forgetting", "direction": "less"}
    samples = {
        ("", PLANTED, name): {b: functions[name](plus[b]) - functions[name](minus[b]) for b in minus}
        for name in ("forgetting", "learning_accuracy")
    }
    rules = {
        "level": settings["level"],
        "learning_margin": settings["learning_margin"],
        "bases": settings["bases"],
        "phase": "demonstration",
        "registered": None,
        "stale": (),
        "contrasts": [contrast],
        "collapsed": {},
        "instrument_passed": True,
    }
    return judge([claim], samples, rules)[0]["verdict"]


def _result(check, arm, passed, value, expected, why) -> dict:
    return dict(zip(COLUMNS, (check, arm, bool(passed), value, expected, "" if passed else why), strict=True))
