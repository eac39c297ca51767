"""What is planned before the streams: trainings and, apart from them, the forward passes of teachers."""

from sparse_continual.budgets import plan
from sparse_continual.show import number

SHAPE = {"hidden_size": 8, "intermediate_size": 16, "layers": 2, "heads": 2, "kv_heads": 2, "vocabulary": 32}
PHASE = {"steps": 1000, "batch_size": 4, "row_tokens": 10, "shape": SHAPE}


def told(*phases):
    return plan._preparation(list(phases)).split("\n")


def test_a_teacher_costs_a_forward_pass_over_the_same_rows():
    """Written out: 2 FLOPs a weight, the full square of attention, and the head at every position."""
    weights = 2 * (4 * 8 * 8 + 3 * 8 * 16)
    forward = 2 * weights + 4 * 10 * 8 * 2 + 2 * 8 * 32
    without = {**PHASE, "teacher": False}
    assert len(told(without)) == 1
    trainings, teachers = told(without, {**PHASE, "teacher": True}, without)
    assert trainings.startswith("Before the streams: 3 trainings of bases (pretraining, recovery), ")
    flops = 1000 * 4 * 10 * forward
    assert f"teachers of 1 recoveries: {flops / 1e6:.3g}MFLOP" in teachers


def test_a_teacher_is_not_in_the_hours_of_the_trainings():
    taught = {**PHASE, "steps": 10**7, "teacher": True}
    assert told(taught)[0] == told({**taught, "teacher": False})[0]
    cost = plan._phase_costs(taught)
    assert 0.3 < cost["teacher_hours"] / cost["hours"] < 0.35


def test_what_methods_have_pass_is_reported_for_every_topology():
    topology = {"method": "gmp", "pattern": "2:4", "steps": 50, "batch_size": 4}
    text = {"sequences": 100, "tokens": 10, "written": False}
    row = {"topology": "slow", "base": "tiny", "shape": SHAPE, "models": 3}
    row |= {"making": {"topology": topology, "text": text}}
    none = {**row, "topology": "at_once", "making": {"topology": {"method": "magnitude"}, "text": None}}
    unknown = {**row, "topology": "not_there", "shape": {}}
    slow, at_once, together = plan._methods([row, none, unknown])[3:6]
    weights, embeddings = 2 * (4 * 8 * 8 + 3 * 8 * 16), 2 * 8 * 32
    forward = 2 * weights + 4 * 10 * 8 * 2 + embeddings
    again = forward - embeddings  # blocks are run again for the gradient
    each = 50 * 4 * 10 * (3 * forward - embeddings - 2 * 3 * 8 * 8 + again)
    assert slow.split() == ["slow", "tiny", "gmp", "3", "4k", "2k", number(each), number(3 * each)]
    assert at_once.split() == ["at_once", "tiny", "magnitude", "3", "0", "0", "0", "0"]
    assert together == f"Together: {number(3 * each)}FLOP."
    assert plan._methods([unknown]) == []
