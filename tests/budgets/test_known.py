"""What is known of a checkpoint once it is made, and what is taken on trust before."""

from sparse_continual.budgets.made import declared, known
from sparse_continual.budgets.price import price
from sparse_continual.csv_text import csv_text
from sparse_continual.integrity import write_manifest

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2, "kv_heads": 2}
SHAPE |= {"vocabulary": 64, "tied": True}
WEIGHTS = 4 * 16 * 16 + 3 * 16 * 32
ROW = {
    **{"condition": "c", "base": "b", "topology": "t", "pattern": None, "sparsity": None, "shape": SHAPE},
    **{"mechanism": {"kind": "finetune"}, "locked": True, "writes": "all", "like": None, "ends": "frozen"},
    **{
        "row_tokens": 8,
        "answer_tokens": 1,
        "train_items": 8,
        "steps": 1,
        "batch_size": 1,
        "tasks": 2,
        "blocks": 1,
    },
    **{"tuning_steps": 0, "asked_steps": 0, "match": None, "making": None, "model": "", "densities": ""},
}


def counted(tmp_path, *matrices):
    path = tmp_path / "densities.csv"
    rows = [
        {"matrix": str(n), "pattern": pattern, "nonzeros": kept, "density": kept / 400}
        for n, (pattern, kept) in enumerate(matrices)
    ]
    path.write_text(csv_text(rows, ["matrix", "pattern", "nonzeros", "density"]))
    return {**ROW, "densities": str(path)}


def test_counted_weights_are_priced_as_they_are(tmp_path):
    row = known(counted(tmp_path, ("2:4", 100), ("2:4", 200)))
    (priced,) = price([row])
    assert (priced["pattern"], priced["nonzeros"], priced["trained"]) == ("2:4", 300, 300)
    assert priced["density"] == 300 / WEIGHTS
    # what is dense, or holds nothing, has the pattern of the others
    assert known(counted(tmp_path, ("2:4", 200), ("dense", 400), ("unstructured", 0)))["pattern"] == "2:4"
    assert known(counted(tmp_path, ("2:4", 200), ("unstructured", 200)))["pattern"] == "unstructured"


def test_a_download_has_its_shape_from_its_manifest(tmp_path):
    write_manifest(tmp_path / "manifest.json", shape=SHAPE)
    row = {key: value for key, value in ROW.items() if key != "densities"}
    row |= {"shape": None, "pattern": "dense", "model": str(tmp_path / "manifest.json")}
    (priced,) = price([known(row)])
    assert priced["prunable"] == priced["nonzeros"] == WEIGHTS


def test_declarations_are_priced_until_weights_are_counted():
    def nonzeros(pattern, sparsity, shape=SHAPE):
        row = declared({**ROW, "shape": None}, shape, {"pattern": pattern, "sparsity": sparsity})
        return row and price([row])[0]["nonzeros"]

    assert nonzeros("2:4", 0.5) == nonzeros("2:4", None) == nonzeros("unstructured", 0.5) == WEIGHTS // 2
    assert nonzeros("unstructured", 0.75) == WEIGHTS // 4
    assert nonzeros("unstructured", None) is None and nonzeros(None, 0.5) is None
    assert nonzeros("dense", 0) is None  # it is to be counted, so it cannot be
    assert nonzeros("2:4", 0.5, {}) is None
