"""One row per condition, by hand, and a table that fits the terminal."""

import pytest

from sparse_continual.budgets.price import THROUGHPUT, price, table
from sparse_continual.show import number
from sparse_continual.training.arithmetic import Shape, forward_flops

SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 128,
    "layers": 4,
    "heads": 4,
    "kv_heads": 4,
    "vocabulary": 400,
    "tied": True,
}
P, HALF = 110592, 55296


def condition(**changes):
    plain = {
        "condition": "c",
        "base": "tiny",
        "topology": "dense",
        "pattern": "dense",
        "sparsity": None,
        "mechanism": {"kind": "finetune"},
        "locked": True,
        "writes": "all",
        "ends": "frozen",
        "shape": SHAPE,
        "row_tokens": 12,
        "answer_tokens": 3,
        "train_items": 320,
        "steps": 100,
        "batch_size": 32,
        "tasks": 5,
        "blocks": 6,
        "tuning_steps": 1200,
        "asked_steps": 0,
        "match": None,
        "making": None,
    }
    return plain | changes


def one(**changes):
    return price([condition(**changes)])[0]


def test_dense_row_by_hand():
    row = one()
    forward = 2 * P + 4 * 12 * 12 * 4 * 4 + 2 * 48 * 400 // 4
    assert row["parameters"] == P + 400 * 48 + 9 * 48
    assert (row["prunable"], row["nonzeros"], row["density"], row["trained"]) == (P, P, 1, P)
    assert row["forward_theoretical"] == row["forward_executed"] == forward
    training = 3 * forward - 2 * 48 * 400 // 4 - 2 * 48 * 48 * 3
    assert row["training_theoretical"] == row["training_executed"] == training
    assert (row["tokens_per_run"], row["tokens_all"]) == (100 * 5 * 32 * 12, 100 * 5 * 6 * 32 * 12)
    assert (row["optimizer_bytes"], row["checkpoint_bytes"], row["disk_bytes"]) == (8 * P, 4 * P, 4 * P * 30)
    assert row["matched_to"] == row["matched_error"] == ""


def test_hours_are_steps_times_fixed_and_flops():
    row = price([condition()], throughput=1e9, step_seconds=0.5)[0]
    step = 0.5 + row["training_executed"] * 32 * 12 / 1e9
    assert row["hours"] == pytest.approx(3000 * step / 3600)
    assert row["tuning_hours"] == pytest.approx(1200 * step / 3600)
    asked = price([condition(asked_steps=600)], throughput=1e9, step_seconds=0.5)[0]
    assert asked["hours"] == pytest.approx(3600 * step / 3600)


def test_replay_buffer_in_tokens_and_bytes():
    row = one(mechanism={"kind": "replay", "buffer_items": 64, "share": 0.25})
    assert (row["buffer_tokens"], row["buffer_bytes"]) == (64 * 12, 64 * 12 * 4)
    assert one()["buffer_tokens"] == 0


def test_ewc_keeps_two_floats_a_value_and_passes_over_its_rows():
    settings = {"kind": "ewc", "lambda": 1, "gamma": 1, "fisher": "sample", "normalise": True}
    row, plain = one(mechanism=settings), one()
    assert (row["state_bytes"], plain["state_bytes"], plain["task_flops"]) == (8 * P, 0, 0)
    assert row["training_executed"] == plain["training_executed"] + 5 * P / (32 * 12)
    pass_ = 320 * 12 * plain["training_executed"]
    # an answer of 3 tokens is drawn in 3 forward passes, with logits at one of the row's 12 positions
    forward = 320 * (12 * (2 * P + 4 * 12 * 12 * 4 * 4) + 2 * 48 * 400)
    assert row["task_flops"] == pytest.approx(pass_ + 3 * forward)
    extra = (3000 * 5 * P + 30 * row["task_flops"]) / THROUGHPUT / 3600
    assert row["hours"] == pytest.approx(plain["hours"] + extra)
    exact, empirical = (one(mechanism={**settings, "fisher": kind}) for kind in ("exact", "empirical"))
    assert exact["task_flops"] == pytest.approx(400 * pass_ + forward)  # a vocabulary of 400
    assert empirical["task_flops"] == pass_
    assert "c 885kB and " in table([row]) and "Kept between tasks" not in table([plain])


def test_sparse_unlocked_and_masked_writes():
    sparse = one(topology="half", pattern="2:4")
    unlocked = one(topology="half", pattern="2:4", locked=False)
    masked = one(writes="masked", like={"pattern": "2:4", "sparsity": None})
    dense = one()
    assert sparse["forward_executed"] == dense["forward_executed"]
    assert dense["forward_theoretical"] - sparse["forward_theoretical"] == 2 * HALF
    assert sparse["checkpoint_bytes"] == dense["checkpoint_bytes"] // 2
    assert (unlocked["nonzeros"], unlocked["trained"]) == (HALF, P)
    assert unlocked["training_theoretical"] == dense["training_theoretical"]
    assert (masked["nonzeros"], masked["trained"]) == (P, HALF)
    assert masked["training_theoretical"] == dense["training_theoretical"] - 2 * HALF
    assert masked["training_executed"] == dense["training_executed"]


def test_trained_ends_and_unstructured_counts():
    row = one(ends="trained", pattern="unstructured", sparsity=0.7)
    assert row["nonzeros"] == round(0.3 * P) and row["trained"] == row["nonzeros"] + 400 * 48 + 9 * 48
    assert row["training_executed"] == 3 * forward_flops(Shape(**SHAPE), 12, head=0.25)["total"]


def test_adapters():
    adapters = 8 * 4 * (4 * (48 + 48) + 3 * (48 + 128))
    masked, side = (one(mechanism={"kind": "lora", "rank": 8, "form": form}) for form in ("masked", "side"))
    assert masked["trained"] == side["trained"] == adapters
    assert masked["training_executed"] == one()["training_executed"] + 6 * 8 * P / (32 * 12)
    assert side["training_executed"] < one()["training_executed"]
    open_ends = one(mechanism={"kind": "lora", "rank": 8, "form": "side"}, ends="trained")
    assert open_ends["trained"] == adapters + 400 * 48 + 9 * 48


def test_what_the_method_has_pass_by_hand():
    """SNIP: all rows pass forward and backward, and the blocks once more; the ends get no gradient. Wanda and OWL: two
    walks.
    """
    text = {"sequences": 16, "tokens": 12, "written": False}
    half = {"pattern": "unstructured", "sparsity": 0.5}
    row = one(**half, making={"topology": {"method": "snip", **half}, "text": text})
    assert (row["method_forward_tokens"], row["method_backward_tokens"]) == (2 * 16 * 12, 16 * 12)
    forward, head = 2 * P + 4 * 12 * 12 * 4 * 4 + 2 * 48 * 400, 2 * 48 * 400
    assert row["method_flops"] == 16 * 12 * (3 * forward - head - 2 * 48 * 48 * 3 + forward - head)
    both = {"method": "wanda", **half, "allocation": "owl"}
    row = one(**half, making={"topology": both, "text": text})
    # each: 2 rows to learn how blocks are called, all rows to measure, and again through 3 of 4 blocks
    assert row["method_forward_tokens"] == 2 * 12 * (2 + 16 + 16 * 3 / 4)
    assert row["method_flops"] == row["method_forward_tokens"] * (forward - head)
    assert row["method_backward_tokens"] == 0
    row = one(**half, making={"topology": {"method": "magnitude", **half}, "text": None})
    assert row["method_forward_tokens"] == row["method_flops"] == one()["method_flops"] == 0


def test_table_is_aligned_and_narrow():
    large = {
        "hidden_size": 16384,
        "intermediate_size": 53248,
        "layers": 126,
        "heads": 128,
        "kv_heads": 8,
        "vocabulary": 128256,
        "tied": False,
    }
    unusual = condition(
        condition="a_condition_of_which_the_name_goes_on_and_on",
        shape=large,
        pattern="unstructured",
        sparsity=0.5,
        match={"to": "something_else", "on": "nonzeros", "error": -0.0098},
        steps=10**5,
        blocks=10,
    )
    rows = price([condition(), unusual])
    lines = table(rows).split("\n")
    assert max(map(len, lines)) <= 120
    assert all(line.isascii() or "…" in line for line in lines)
    models = lines[1:4]
    assert models[2].rstrip().endswith("nonzeros -0.98 %")
    column = models[0].index("parameters") + len("parameters")
    assert all(line[column - 1] != " " and line[column] == " " for line in models)
    assert f"{sum(r['hours'] for r in rows):.2f} hours" in lines[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (999.6, "1k"), (55296, "55.3k"), (999_600, "1M"), (3.49e9, "3.49G")],
)
def test_numbers(value, text):
    assert number(value) == text
