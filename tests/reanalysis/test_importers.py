"""Logs in the formats of other frameworks, written here line by line as their code writes them."""

import json

import numpy as np
import pytest
from worked import WORKED

from sparse_continual import registry
from sparse_continual.errors import UserError
from sparse_continual.reanalysis.foreign import Foreign, needs
from sparse_continual.statistics import metrics

T = 4
LOWER = {"learning_accuracy", "average_accuracy", "anytime_average", "forgetting", "backward_transfer"}
LOWER |= {"worst_forgetting", "plasticity_loss"}


def read(name, path):
    return registry.load("reanalysis.importers", name).read(path)


def lower(R=WORKED):
    """R as a log of the tasks trained so far keeps it."""
    known = R.copy()
    known[0] = np.nan
    known[1:][np.triu_indices(T, 1)] = np.nan
    return known


def agrees(foreign, R, names):
    """`foreign` is R, and computes exactly the metrics `names`, to their values on the whole matrix."""
    np.testing.assert_allclose(foreign.R, R, atol=1e-12)
    values, reasons = foreign.metrics()
    assert set(values) == set(names) and set(values) | set(reasons) == set(metrics.OF_MATRIX)
    assert values == pytest.approx({name: metrics.OF_MATRIX[name](WORKED) for name in names})
    return reasons


def test_one_importer_for_each_framework():
    assert registry.names("reanalysis.importers") == ["avalanche", "mammoth", "o_lora", "trace"]


# what a metric reads


@pytest.mark.parametrize("name", metrics.OF_MATRIX)
def test_needs_are_the_cells_that_a_metric_reads(name):
    rng = np.random.default_rng(0)
    metric, read = metrics.OF_MATRIX[name], needs(name, 6)  # even: a slope does not read the middle
    matters = np.zeros((7, 6), bool)
    for _ in range(30):  # a maximum over cells reads one at a time
        R = rng.random((7, 6))
        R[np.arange(1, 7), np.arange(6)] += 1  # so that something is gained
        for cell in np.ndindex(7, 6):
            for step in (-2, 2):
                moved = R.copy()
                moved[cell] += step
                matters[cell] |= not np.isclose(metric(moved), metric(R), equal_nan=True)
    assert (matters == read).all(), (matters, read)


def test_what_is_missing_is_named():
    cells = {"before": (0, 1), "ahead": (1, 2), "behind": (4, 1)}
    found = {}
    for where, cell in cells.items():
        R = WORKED.copy()
        R[cell] = np.nan
        found[where] = Foreign(R, list("abcd")).metrics()[1]
    assert found["before"]["forward_transfer"] == "the scores before the stream were not logged"
    assert "forgetting" not in found["before"]
    assert set(found["ahead"]) == {"forgetting_max"}
    assert set(found["ahead"].values()) == {"scores of tasks that were not trained yet were not logged"}
    assert found["behind"]["forgetting"] == "the score of task b after task 4 was not logged"


# Avalanche


def csv_log(order, R, before=True):
    """eval_results.csv of CSVLogger: experiences by number, whatever the order of training."""
    lines = ["eval_exp,training_exp,eval_accuracy,eval_loss,forgetting"]
    for after in range(0 if before else 1, T + 1):
        trained = "None" if after == 0 else order[after - 1]
        for experience in range(T):
            score = R[after, order.index(experience)]
            lines.append(f"{experience},{trained},{score:.4f},1.2000,0")
    return "\n".join(lines) + "\n"


def test_avalanche_csv_in_the_order_of_training(tmp_path):
    path = tmp_path / "eval_results.csv"
    path.write_text(csv_log([2, 0, 3, 1], WORKED))
    found = read("avalanche", path)
    assert found.tasks == ["experience 2", "experience 0", "experience 3", "experience 1"]
    assert agrees(found, WORKED, metrics.OF_MATRIX) == {}
    path.write_text(csv_log([0, 1, 2, 3], WORKED, before=False))
    without = WORKED.copy()
    without[0] = np.nan
    reasons = agrees(read("avalanche", path), without, LOWER | {"forgetting_max"})
    assert set(reasons.values()) == {"the scores before the stream were not logged"}


def test_avalanche_csv_of_two_streams_is_refused(tmp_path):
    path = tmp_path / "eval_results.csv"
    text = csv_log([0, 1, 2, 3], WORKED)
    path.write_text(text + "3,3,0.9900,0.1000,0\n")
    with pytest.raises(
        UserError, match=r"eval_results.csv: line 22: a second score of experience 3 after task 4"
    ):
        read("avalanche", path)
    path.write_text(text.replace("0.9000", "many"))
    with pytest.raises(UserError, match="line 15: found 1,2,many,.*expected numbers"):
        read("avalanche", path)
    path.write_text(text.replace("0.9000", "0"))
    with pytest.raises(UserError, match="line 15: no accuracy; expected ExperienceAccuracy"):
        read("avalanche", path)
    path.write_text(text.replace("0.9000", "1.9000"))
    with pytest.raises(UserError, match=r"experience 1 after task 3 has score 1.9, expected one in \[0, 1\]"):
        read("avalanche", path)


def text_log(R, before=True):
    """What TextLogger prints, with an evaluation within training and one of the train stream."""

    def evaluation(row, stream="test"):
        lines = ["-- >> Start of eval phase << --"]
        for j, score in enumerate(row):
            lines += [
                f"-- Starting eval on experience {j} (Task 0) from {stream} stream --",
                f"> Eval on experience {j} (Task 0) from {stream} stream ended.",
                f"\tLoss_Exp/eval_phase/{stream}_stream/Task000/Exp{j:03} = 0.5000",
                f"\tTop1_Acc_Exp/eval_phase/{stream}_stream/Task000/Exp{j:03} = {score:.4f}",
            ]
        lines += [
            "-- >> End of eval phase << --",
            f"\tTop1_Acc_Stream/eval_phase/{stream}_stream/Task000 = 0.5000",
        ]
        return lines

    lines = evaluation(R[0]) if before else []
    for after in range(1, T + 1):
        lines += [
            "-- >> Start of training phase << --",
            *evaluation([0.01] * T),
            f"-- Starting training on experience {after - 1} (Task 0) from train stream --",
            "Epoch 0 ended.",
            "\tTop1_Acc_Epoch/train_phase/train_stream/Task000 = 0.9900",
            *evaluation([0.02] * T),
            "-- >> End of training phase << --",
            *evaluation(R[after]),
            *evaluation([0.99] * T, "train"),
        ]
    return "\n".join(lines) + "\n"


def test_avalanche_text(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(text_log(WORKED))
    found = read("avalanche", path)
    assert agrees(found, WORKED, metrics.OF_MATRIX) == {}
    assert any("stream train are left out" in note for note in found.notes)
    path.write_text(text_log(WORKED, before=False))
    assert np.isnan(read("avalanche", path).R[0]).all()


def test_avalanche_text_of_its_interactive_logger(tmp_path):
    """It draws progress bars between the lines, and does not say which experience is trained."""
    path = tmp_path / "out.txt"
    lines = [line for line in text_log(WORKED).splitlines() if "Starting training" not in line]
    bars = [
        line.replace("> Eval", "\r 50%|#####     | 1/2 [00:00<00:00, 118.45it/s]\n> Eval") for line in lines
    ]
    path.write_text("\n".join(bars))
    found = read("avalanche", path)
    assert agrees(found, WORKED, metrics.OF_MATRIX) == {}
    assert any("order of their numbers" in note for note in found.notes)
    path.write_text("\n".join(bars[: len(bars) // 2]))
    with pytest.raises(UserError, match="2 training phases of 4 experiences, not all of them named"):
        read("avalanche", path)


def test_avalanche_json_of_evaluations(tmp_path):
    path = tmp_path / "results.json"
    name = "Top1_Acc_Exp/eval_phase/test_stream/Task{0:03}/Exp{0:03}"
    rows = [{name.format(j): WORKED[i, j] for j in range(T)} | {"Loss_Stream": 0.3} for i in range(T + 1)]
    path.write_text(json.dumps(rows))
    assert agrees(read("avalanche", path), WORKED, metrics.OF_MATRIX) == {}
    path.write_text(json.dumps(rows[1:]))
    assert np.isnan(read("avalanche", path).R[0]).all()
    path.write_text(json.dumps(rows[2:]))
    with pytest.raises(UserError, match="3 evaluations of 4 experiences, expected one after each task"):
        read("avalanche", path)


def test_avalanche_json_of_its_matrix(tmp_path):
    path = tmp_path / "matrix.json"
    path.write_text(json.dumps(WORKED[1:].tolist()))  # square: the row before the stream is overwritten
    without = WORKED.copy()
    without[0] = np.nan
    agrees(read("avalanche", path), without, LOWER | {"forgetting_max"})
    path.write_text(json.dumps(np.tril(WORKED[1:]).tolist()))
    agrees(read("avalanche", path), lower(), LOWER)  # zeros above the diagonal: never evaluated
    path.write_text(json.dumps(WORKED.tolist()))
    assert agrees(read("avalanche", path), WORKED, metrics.OF_MATRIX) == {}
    path.write_text(json.dumps(WORKED[2:].tolist()))
    with pytest.raises(UserError, match="a matrix of 3 rows, expected 4 or 5 rows of 4 scores"):
        read("avalanche", path)


def test_avalanche_csv_of_two_runs(tmp_path):
    path = tmp_path / "eval_results.csv"
    header, *rows = csv_log([2, 0, 3, 1], WORKED).splitlines()
    first, second = (
        rows[: 2 * T],
        rows[T:],
    )  # killed after one task, and one without the row before the stream
    for text, words in [
        ([header, *first, header, *second], "line 10: the header again"),
        ([header, *second, *first], "line 18: an evaluation before any training, after others"),
        ([header, *second, *second], "line 18: experience 2 is trained again, after experience 1"),
        ([header, *rows[:-1], rows[-1][:6]], "line 21: found .*, expected numbers, one for each column"),
    ]:
        path.write_text("\n".join(text))
        with pytest.raises(UserError, match=words):
            read("avalanche", path)


def test_avalanche_csv_of_a_killed_run(tmp_path):
    path = tmp_path / "eval_results.csv"
    rows = csv_log([0, 1, 2, 3], WORKED).splitlines()
    path.write_text("\n".join(rows[:-T]))  # the last task was never trained
    with pytest.raises(UserError, match=r"experiences \[3\] are evaluated but never trained"):
        read("avalanche", path)
    path.write_text("\n".join(rows[:-2]))  # killed within the last evaluation
    reasons = read("avalanche", path).metrics()[1]
    assert reasons["average_accuracy"] == (
        "the scores of tasks experience 2, experience 3 after task 4 were not logged"
    )


def test_avalanche_text_of_two_runs_or_half_of_one(tmp_path):
    path = tmp_path / "log.txt"
    whole = text_log(WORKED, before=False).splitlines()
    ends = [n for n, line in enumerate(whole, 1) if "End of training" in line]
    for text, words in [
        ([*whole, *whole], "experience 0 is trained again, after experience 3"),
        ([*whole, *text_log(WORKED[:, ::-1]).splitlines()], "a second score of experience 0 after 4 tasks"),
        (whole[: ends[-1] - 1], "ends within training after task 4"),
        (whole[: ends[-1] + 3], "ends within an evaluation after task 4"),
    ]:
        path.write_text("\n".join(text))
        with pytest.raises(UserError, match=words):
            read("avalanche", path)
    begun = whole[
        : whole.index("Epoch 0 ended.")
    ]  # killed within the first task, and run again into the same file
    path.write_text("\n".join([*begun, "[TextLogger] Resuming from checkpoint.", *whole]))
    agrees(read("avalanche", path), np.vstack([np.full(T, np.nan), WORKED[1:]]), LOWER | {"forgetting_max"})


def test_avalanche_json_of_a_killed_run_or_of_two(tmp_path):
    """The metrics of training, which `strategy.eval` returns too, show which evaluation is from before the stream."""
    path = tmp_path / "results.json"
    name = "Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp{0:03}"
    trained = {"Top1_Acc_Epoch/train_phase/train_stream/Task000": 0.9}

    def evaluation(i, seen=T):
        return {name.format(j): WORKED[i, j] for j in range(seen)} | (trained if i else {})

    path.write_text(json.dumps([evaluation(i) for i in range(T + 1)]))
    assert agrees(read("avalanche", path), WORKED, metrics.OF_MATRIX) == {}
    for rows in ([0, 1, 2, 3], [1, 1, 2, 3, 4], [0, 1, 0, 1, 2]):
        path.write_text(json.dumps([evaluation(i) for i in rows]))
        with pytest.raises(
            UserError, match=f"{len(rows)} evaluations of 4 experiences, those without metrics"
        ):
            read("avalanche", path)
    trained = {}
    path.write_text(json.dumps([evaluation(i, i) for i in (1, 1, 2, 3, 4)]))
    with pytest.raises(UserError, match=r"evaluations 1 and 2 are both of experiences \[0\], of 4"):
        read("avalanche", path)


def test_avalanche_matrix_of_a_killed_run(tmp_path):
    path = tmp_path / "matrix.json"
    rows = WORKED[1:].tolist()
    path.write_text(json.dumps([*rows[:3], [0.0] * T]))  # it begins as zeros
    with pytest.raises(UserError, match="all scores after task 4 are 0"):
        read("avalanche", path)
    path.write_text(json.dumps(np.diag(np.diag(WORKED[1:])).tolist()))
    notes = read("avalanche", path).notes
    assert any("below the diagonal are 0: forgotten, or not evaluated again" in note for note in notes)


@pytest.mark.parametrize("score", [True, False, None, "0.5", float("nan"), float("inf"), 1.5, -0.1, 10**400])
def test_what_is_no_score(tmp_path, score):
    rows = WORKED[1:].tolist()
    rows[2][0] = score
    path = tmp_path / "matrix.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match="matrix.json: task experience 0 after task 3 has score"):
        read("avalanche", path)


# Mammoth


def pyd(R, padded=False):
    """A line of logs.pyd: the text of a dictionary in which not every value is a literal."""
    cells = [(i, j) for i in range(1, T + 1) for j in range(1, T + 1) if j <= i or padded]
    scores = {f"accuracy_{j}_task{i}": 100 * R[i, j - 1] if j <= i else 0.0 for i, j in cells}
    means = {f"accmean_task{i}": 100 * R[i, :i].mean() for i in range(1, T + 1)}
    logged = {"dataset": "seq-cifar10", "lr": 0.1, **means, **scores, "forward_transfer": None}
    logged["forgetting"] = np.float64(16.67)
    return str({key: float(v) if isinstance(v, np.floating) else v for key, v in logged.items()}).replace(
        "'lr': 0.1", "'device': device(type='cuda', index=0)"
    )


@pytest.mark.parametrize("padded", [False, True])
def test_mammoth_line(tmp_path, padded):
    path = tmp_path / "logs.pyd"
    path.write_text(pyd(WORKED, padded) + "\n")
    found = read("mammoth", path)
    reasons = agrees(found, lower(), LOWER)
    assert reasons["forward_transfer"] == "the scores before the stream were not logged"
    assert reasons["forgetting_max"] == "scores of tasks that were not trained yet were not logged"
    assert padded == any("pads rows" in note for note in found.notes)


def test_mammoth_values_that_numpy_prints(tmp_path):
    path = tmp_path / "logs.pyd"
    numbers = (
        "{'accmean_task1': np.float64(50.0), 'accuracy_1_task1': np.float64(50.0), 'accmean_task2': 60.0,"
    )
    path.write_text(numbers + " 'accuracy_1_task2': np.float64(40.0), 'accuracy_2_task2': 80.0}\n")
    assert read("mammoth", path).metrics()[0]["forgetting"] == pytest.approx(0.1)


def test_mammoth_several_runs_and_domain_il(tmp_path):
    path = tmp_path / "logs.pyd"
    path.write_text(pyd(WORKED) + "\n" + pyd(WORKED) + "\n")
    with pytest.raises(UserError, match="2 runs, expected one; put each line into a file of its own"):
        read("mammoth", path)
    path.write_text("{'dataset': 'rot-mnist', 'accmean_task1': 91.0, 'accmean_task2': 88.0}\n")
    with pytest.raises(UserError, match="only means over tasks, as Mammoth logs for domain-IL settings"):
        read("mammoth", path)


@pytest.mark.parametrize("setting", ["Class", "Domain"])
def test_mammoth_printed_log(tmp_path, setting):
    lines = []
    for i in range(1, T + 1):
        own, other = [100 * score for score in WORKED[i, :i].tolist()], [99.0] * i
        task = f" | Task-IL {other}" if setting == "Class" else ""
        lines += [
            f"Accuracy for {i} task(s): \t [{setting}-IL]: 80.0 %",
            f"\tRaw accuracy values: {setting}-IL {own}{task}",
        ]
        lines += [
            "",
            f"Future Accuracy for {i} task(s): [x]",
            f"\tRaw accuracy values: {setting}-IL [1.0, 2.0]",
        ]
    path = tmp_path / "out.log"
    path.write_text("\n".join(lines))
    agrees(read("mammoth", path), lower(), LOWER)


def printed(rows, start=1, future=False):
    """What a run prints: each line on standard error, and again by `logging`."""
    lines = []
    for i, row in enumerate(rows, start):
        for line in (
            f"Accuracy for {i} task(s): \t [Class-IL]: 80.0 % \t [Task-IL]: 99.0 %",
            f"\tRaw accuracy values: Class-IL {row} | Task-IL {[99.0] * len(row)}",
        ):
            lines += [line, f"[INFO] 12-May-26 10:00:00 - {line}"]
        if future:
            lines += [
                "Future Accuracy for 4 task(s): 1 %",
                "\tRaw accuracy values: Class-IL [1.0] | Task-IL [1.0]",
            ]
    return lines


def percent(R=WORKED):
    return [(100 * R[i, :i]).tolist() for i in range(1, T + 1)]


@pytest.mark.parametrize("future", [False, True])
def test_mammoth_prints_every_line_twice(tmp_path, future):
    path = tmp_path / "out.log"
    path.write_text("\n".join(printed(percent(), future=future)))
    agrees(read("mammoth", path), lower(), LOWER)


def test_mammoth_printed_log_of_two_runs_or_half_of_one(tmp_path):
    path, rows = tmp_path / "out.log", percent()
    other = percent(WORKED[:, ::-1])
    whole = printed(rows)
    for lines, words in [
        ([*whole, *printed(other[:2])], r"line 17: accuracy for 1 task\(s\) again, after 4 task\(s\)"),
        ([*printed(rows[:1]), *printed(other)], "line 7: other scores after task 1 than before"),
        ([*printed(rows[:2]), *printed(other)], r"line 9: accuracy for 1 task\(s\) again, after 2"),
        ([*whole, *whole], r"line 17: accuracy for 1 task\(s\) again"),
        (whole[:-2], r"accuracy for 4 task\(s\) without its raw accuracy values"),
        ([*whole[:-2], whole[-2][:30]], r"accuracy for 4 task\(s\) without its raw accuracy values"),
        (
            [*whole[:-2], "Future Accuracy for 4 task(s): 1 %", "\tRaw accuracy values: Class-IL [1.0]"],
            r"accuracy for 4 task\(s\) without its raw accuracy values",
        ),
    ]:
        path.write_text("\n".join(lines))
        with pytest.raises(UserError, match=f"out.log: {words}"):
            read("mammoth", path)


def test_mammoth_line_that_was_cut(tmp_path):
    path = tmp_path / "logs.pyd"
    line = pyd(WORKED)
    path.write_text(line[: line.index("'accuracy_4_task4'") + 22])
    with pytest.raises(UserError, match="logs.pyd: its line does not end in a bracket"):
        read("mammoth", path)
    path.write_text(line[:-1] + ", 'accuracy_1_task1': 3.0}")
    with pytest.raises(UserError, match="a score occurs twice in one line"):
        read("mammoth", path)


def test_shares_in_place_of_percent(tmp_path):
    """Of the whole log or of one row; a task that is all but forgotten is none."""
    path, rows = tmp_path / "out.log", percent()
    shares = [[score / 100 for score in row] for row in rows]
    for wrong, after in ((shares, 1), ([*rows[:3], shares[3]], 4), ([shares[0], *rows[1:]], 1)):
        path.write_text("\n".join(printed(wrong)))
        with pytest.raises(
            UserError, match=f"the scores after task {after} are at most 1 .*expected percent"
        ):
            read("mammoth", path)
    path.write_text("\n".join(printed([[90.0], [0.0132, 80.0], [0.5, 0.0, 0.0]])))
    assert read("mammoth", path).R[2, 0] == pytest.approx(0.000132)


# TRACE

TASKS = ["C-STANCE", "MeetingBank", "Py150", "20Minuten"]


def trace(folder, R=WORKED, tasks=TASKS):
    for number in range(len(tasks)):
        for i in range(number + 1):
            score = R[number + 1, i]
            measures = {
                "C-STANCE": {"accuracy": score},
                "MeetingBank": {"bleu-1": 0.9, "bleu-4": 0.9, "rouge-L": score},
                "Py150": {"similarity": 100 * score},
                "20Minuten": {"bleu-1": 0.9, "rouge-L": 0.9, "sari": [{"sari": 100 * score}]},
            }.get(tasks[i], {"accuracy": score})
            content = {"eval": measures, "prompts": ["p"], "results": ["r"], "labels": ["l"]}
            (folder / f"results-{number}-{i}-{tasks[i]}.json").write_text(json.dumps(content))
    return folder


def test_trace(tmp_path):
    found = read("trace", trace(tmp_path))
    assert found.tasks == TASKS
    agrees(found, lower(), LOWER)
    assert any("20Minuten sari" in note for note in found.notes)


def test_trace_that_is_not_whole(tmp_path):
    (trace(tmp_path) / "results-3-1-MeetingBank.json").unlink()
    values, reasons = read("trace", tmp_path).metrics()
    assert reasons["forgetting"] == "the score of task MeetingBank after task 4 was not logged"
    assert "learning_accuracy" in values
    (tmp_path / "results-0-0-C-STANCE.json").write_text(json.dumps({"eval": {}}))
    with pytest.raises(UserError, match="results-0-0-C-STANCE.json: eval has no accuracy"):
        read("trace", tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("results-1-0-FOMC.json", "task 0 is FOMC, and C-STANCE in another round"),
        ("results-0-1-MeetingBank.json", "task 1 in round 0; expected only tasks up to the round's"),
        ("results-4-4-Alpaca.json", "found task Alpaca, expected one of"),
    ],
)
def test_trace_of_other_names(tmp_path, name, words):
    (trace(tmp_path) / name).write_text(json.dumps({"eval": {"accuracy": 0.5, "rouge-L": 0.5}}))
    with pytest.raises(UserError, match=f"{name}: {words}"):
        read("trace", tmp_path)


def test_trace_whose_last_round_has_begun(tmp_path):
    trace(tmp_path)
    for i in (3, 2):
        (tmp_path / f"results-3-{i}-{TASKS[i]}.json").unlink()
        with pytest.raises(UserError, match=r"round 3 has begun \(results-3-0-C-STANCE.json"):
            read("trace", tmp_path)
    for i in (0, 1):
        (tmp_path / f"results-3-{i}-{TASKS[i]}.json").unlink()
    assert read("trace", tmp_path).tasks == TASKS[:3]  # whole: another log alone shows that it is short


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "results-03-1-MeetingBank.json",
            "a second file of task 1 in round 3, beside results-03-1",
        ),
        (
            "results-3-1-MeetingBank (copy).json",
            r"found task MeetingBank \(copy\), expected one of .* move a copy",
        ),
        ("results-3-1-FOMC.json", "task 1 is FOMC, and MeetingBank in another round"),
        ("results-4-4-C-STANCE.json", "task C-STANCE occurs twice, as task 1 and 5"),
    ],
)
def test_trace_with_files_of_another_run(tmp_path, name, words):
    (trace(tmp_path) / name).write_text(json.dumps({"eval": {"accuracy": 0.5, "rouge-L": 0.1}}))
    with pytest.raises(UserError, match=words):
        read("trace", tmp_path)


@pytest.mark.parametrize(
    ("name", "measures", "words"),
    [
        ("results-0-0-C-STANCE.json", {"accuracy": True}, "eval has no accuracy that is a number"),
        ("results-0-0-C-STANCE.json", {"accuracy": float("nan")}, r"accuracy has score nan, expected one in"),
        (
            "results-0-0-C-STANCE.json",
            {"accuracy": 70.0},
            r"accuracy has score 70.0, expected one in \[0, 1\]",
        ),
        ("results-3-2-Py150.json", {"similarity": 0.65}, "similarity is 0.65, expected percent"),
        ("results-3-3-20Minuten.json", {"sari": [{"sari": 0.4}]}, "sari is 0.4, expected percent"),
        ("results-3-3-20Minuten.json", {"sari": [{"sari": True}]}, "eval has no sari that is a number"),
    ],
)
def test_trace_scores_that_are_none(tmp_path, name, measures, words):
    (trace(tmp_path) / name).write_text(json.dumps({"eval": measures}))
    with pytest.raises(UserError, match=f"{name}: {words}"):
        read("trace", tmp_path)


# O-LoRA

# Exact match after each task of its own run order1_olora (github.com/cmnfriend/O-LoRA at 07117e1).
ORDER = ["dbpedia", "amazon", "yahoo", "agnews"]
PUBLISHED = [[98.7105], [98.5526, 57.7632], [97.4079, 57.4079, 71.9079], [97.7368, 56.0658, 71.0395, 88.6184]]


def o_lora(folder, rows=PUBLISHED, tasks=ORDER):
    for k, (task, row) in enumerate(zip(tasks, rows, strict=True), 1):
        scores = {
            f"predict_exact_match_for_{name}": score for name, score in zip(tasks[:k], row, strict=True)
        }
        scores |= {
            "epoch": 1.0,
            "predict_exact_match": 1.0,
            "predict_exact_match_for_TC": 2.0,
            "train_samples": 14000,
        }
        (folder / f"{k}-{task}").mkdir()
        (folder / f"{k}-{task}" / "all_results.json").write_text(json.dumps(scores))
    return folder


def test_o_lora_on_its_own_run(tmp_path):
    found = read("o_lora", o_lora(tmp_path))
    values, reasons = found.metrics()
    assert set(values) == LOWER and found.tasks == ORDER
    assert values["average_accuracy"] == pytest.approx(0.783651)  # its own predict_exact_match is 78.3651
    lost = (98.7105 - 97.7368 + 57.7632 - 56.0658 + 71.9079 - 71.0395) / 3
    assert values["forgetting"] == pytest.approx(lost / 100)
    assert reasons["fraction_lost"] == "the scores before the stream were not logged"


@pytest.mark.parametrize("left", ['{"epoch": 1.0, "train_loss": 0.2}', None])
def test_o_lora_without_predictions_after_one_task(tmp_path, left):
    file = o_lora(tmp_path) / "3-yahoo" / "all_results.json"
    file.unlink()
    if left:
        file.write_text(left)
    values, reasons = read("o_lora", tmp_path).metrics()
    assert values == {"average_accuracy": pytest.approx(0.783651)}
    assert reasons["forgetting"] == "the score of task yahoo after task 3 was not logged"


def test_o_lora_that_is_none(tmp_path):
    for k in ("1-dbpedia", "3-yahoo"):
        (tmp_path / k).mkdir()
    with pytest.raises(UserError, match=r"outputs of tasks \[1, 3\], expected those of all from 1 on"):
        read("o_lora", tmp_path)
    (tmp_path / "3-yahoo").rename(tmp_path / "2-yahoo")
    with pytest.raises(UserError, match="no predict_exact_match_for_dbpedia in any of all_results.json"):
        read("o_lora", tmp_path)
    (tmp_path / "1-dbpedia" / "predict_results.json").write_text("[1]")
    with pytest.raises(UserError, match="predict_results.json: not results of O-LoRA"):
        read("o_lora", tmp_path)


def test_o_lora_scores_beyond_a_hundred(tmp_path):
    o_lora(tmp_path, [[98.7], [98.5, 157.0]], ORDER[:2])
    with pytest.raises(
        UserError, match=r"task amazon after task 2 has score 157.0, expected one in \[0, 100\]"
    ):
        read("o_lora", tmp_path)


@pytest.mark.parametrize("name", ["4-yelp", "4-agnews.bak", "04-agnews", "1-dbpedia (copy)"])
def test_o_lora_with_two_folders_of_one_number(tmp_path, name):
    """Whatever is in them, and in whichever order the system lists them."""
    (o_lora(tmp_path) / name).mkdir()
    with pytest.raises(
        UserError, match="two folders of task [14], .*; expected one. Move the one that is not"
    ):
        read("o_lora", tmp_path)


def test_o_lora_folders_as_people_leave_them(tmp_path):
    o_lora(tmp_path)
    for k, task in enumerate(ORDER, 1):
        (tmp_path / f"{k}-{task}").rename(tmp_path / f"0{k}-{task}")
    (tmp_path / "1-dbpedia.zip").write_text("PK")
    (tmp_path / "old").mkdir()
    assert read("o_lora", tmp_path).metrics()[0]["average_accuracy"] == pytest.approx(0.783651)
    (tmp_path / "04-agnews").rename(tmp_path / "04-dbpedia")
    with pytest.raises(UserError, match="task dbpedia occurs twice, as task 1 and 4"):
        read("o_lora", tmp_path)


def test_o_lora_reads_both_files_of_a_task(tmp_path):
    whole = o_lora(tmp_path) / "4-agnews" / "all_results.json"
    prediction = whole.with_name("predict_results.json")
    prediction.write_text(whole.read_text())
    whole.write_text('{"train_loss": 0.2}')
    assert read("o_lora", tmp_path).metrics()[0]["average_accuracy"] == pytest.approx(0.783651)
    whole.write_text('{"predict_exact_match_for_dbpedia": 12.0}')
    with pytest.raises(UserError, match="for_dbpedia is 97.7368, and 12.0 in all_results.json"):
        read("o_lora", tmp_path)


@pytest.mark.parametrize(
    ("factor", "word"), [(0.01, "expected percent"), (float("nan"), "score nan"), (10, "score 9")]
)
def test_o_lora_scores_on_another_scale(tmp_path, factor, word):
    o_lora(tmp_path, [[factor * score for score in row] for row in PUBLISHED])
    with pytest.raises(UserError, match=word):
        read("o_lora", tmp_path)


# what is none of these


@pytest.mark.parametrize("name", ["avalanche", "mammoth"])
def test_an_unknown_format_is_one_clear_line(tmp_path, name):
    path = tmp_path / "log.txt"
    path.write_text("epoch 1: loss 0.3\n")
    with pytest.raises(UserError, match=f"log.txt: not a known log of {name.title()}; expected"):
        read(name, path)
    path.write_bytes(b"\x80\x04\x95\x10\x00\xff")  # a pickle's beginning: nothing is unpickled
    with pytest.raises(UserError, match="log.txt: cannot be read as UTF-8 text"):
        read(name, path)
    with pytest.raises(UserError, match="none.txt: no such file"):
        read(name, tmp_path / "none.txt")


def test_json_that_is_no_log_of_avalanche(tmp_path):
    path = tmp_path / "log.json"
    for content in ('{"accuracy": 0.3}', "[]", "[1, 2]", "3"):
        path.write_text(content)
        with pytest.raises(UserError, match="log.json: not a known log of Avalanche; expected"):
            read("avalanche", path)
    path.write_text('[{"loss": 1}, {"loss": 2}]')
    with pytest.raises(UserError, match="log.json"):
        read("avalanche", path)
    path.write_text("[{")
    with pytest.raises(UserError, match="log.json: line 1: not valid JSON"):
        read("avalanche", path)


def test_a_byte_order_mark_is_no_part_of_a_log(tmp_path):
    path = tmp_path / "eval_results.csv"
    path.write_text(csv_log([0, 1, 2, 3], WORKED), encoding="utf-8-sig")
    assert agrees(read("avalanche", path), WORKED, metrics.OF_MATRIX) == {}


@pytest.mark.parametrize(
    ("name", "words"), [("trace", "no results of TRACE"), ("o_lora", "no outputs of O-LoRA")]
)
def test_a_folder_without_results(tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        read(name, tmp_path)
    with pytest.raises(UserError, match=words):
        read(name, tmp_path / "none")


def test_a_single_task_is_no_stream(tmp_path):
    with pytest.raises(UserError, match="scores of 1 tasks, expected a stream of at least 2"):
        read("o_lora", o_lora(tmp_path, PUBLISHED[:1], ORDER[:1]))
