"""The audit: against topology files, models built by transformers, masks made by hand and published declarations."""

import itertools
import json

import numpy as np
import pytest
import torch
from families import FAMILIES, build
from layers import method, one_shot
from safetensors.torch import load_file, save_file

from sparse_continual import Topology, prune, registry
from sparse_continual.auditing import declared, view
from sparse_continual.auditing.audit import audit, compare, locate, part_of
from sparse_continual.errors import UserError
from sparse_continual.models.load import matrix_of, prunable
from sparse_continual.models.reader import Checkpoint
from sparse_continual.topologies import zeros
from sparse_continual.topologies.density import implies

OPTIONS = {"shuffled": {"of": "sparsegpt"}, "wandapp": {"samples": 4, "rounds": 1}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


def saved(model, folder, change=None):
    """The folder with a model's files, block weights replaced by `change(name, weight)`."""
    if change:
        with torch.no_grad():
            for name, module in prunable(model).items():
                module.weight.copy_(change(name, module.weight))
    model.save_pretrained(folder)
    return folder


def configured(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def with_zeros(share):
    """A change that makes `share` of every matrix zero, at random places."""

    def change(name, weight):
        gone = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(len(name)))
        weight = weight.clone().flatten()
        weight[gone[: round(share * len(gone))]] = 0
        return weight

    return lambda name, weight: change(name, weight).view_as(weight)


def two_of_four(name, weight):
    return weight * torch.tensor([1, 0, 0, 1]).repeat(weight.shape[1] // 4)


@pytest.mark.parametrize("name", [n for n in registry.names("pruning.methods") if one_shot(n)])
@pytest.mark.parametrize("pattern, sparsity", [("unstructured", 0.6), ("2:4", None)])
def test_generated_topologies_equal_their_files(name, pattern, sparsity, llama, rows, folder):
    method(OPTIONS.get(name, {}).get("of", name))
    model = llama()
    topology = prune(model, name, pattern, sparsity, rows[:6], **OPTIONS.get(name, {}))
    topology.save(folder.parent / Topology.FILE)
    report = audit(saved(model, folder))
    assert report["verdict"] == "fixed-topology" and report["pattern"] == pattern
    assert report["density"] == pytest.approx(topology.density, abs=1e-12)
    assert report["declared"]["source"] == Topology.FILE and report["declared"]["contradictions"] == []
    masks = Topology.load(folder.parent / Topology.FILE).masks
    found = {row["name"]: row for row in report["matrices"] if row["part"] == "block"}
    assert found.keys() == masks.keys()
    for matrix, mask in masks.items():
        assert found[matrix]["nonzeros"] == int(mask.sum()), matrix
        assert found[matrix]["dead_rows"] == int((~mask.any(1)).sum()), matrix
    assert zeros.topology_hash(Checkpoint(folder), masks) == topology.sha256


@pytest.mark.parametrize("export", ["masked", "compact"])
def test_structured_topologies_equal_their_files(export, llama, rows, folder):
    model = llama()
    topology = prune(model, "llm_pruner", "structured", 0.5, rows, export=export)
    topology.save(folder.parent / Topology.FILE)
    report = audit(saved(model, folder))
    assert report["verdict"] == ("dense" if export == "compact" else "fixed-topology")
    assert report["density"] == pytest.approx(topology.density) and not report["declared"]["contradictions"]
    dead = sum(row["dead_rows"] + row["dead_columns"] for row in report["matrices"])
    assert (dead > 0) == (export == "masked")


@pytest.mark.parametrize("family", FAMILIES)
def test_block_matrices_are_those_that_are_pruned(family, folder):
    """Names and orientation, against the model that transformers builds."""
    model = build(family)
    report = audit(saved(model, folder))
    found = {
        row["name"]: (row["rows"], row["columns"]) for row in report["matrices"] if row["part"] == "block"
    }
    assert found == {name: tuple(matrix_of(module).shape) for name, module in prunable(model).items()}
    weights = {part: tally["weights"] for part, tally in report["parts"].items()}
    assert sum(weights.values()) == sum(p.numel() for p in model.parameters())
    embedding = model.get_input_embeddings().weight
    assert weights["embedding"] >= embedding.numel() and weights["norm"] > 0
    head = model.get_output_embeddings().weight
    assert weights.get("head", 0) == (0 if head is embedding else head.numel())


@pytest.mark.parametrize(
    "name, shape, part",
    [
        ("model.layers.3.mlp.gate.weight", (8, 16), "router"),
        ("model.layers.3.mlp.gate_proj.weight", (8, 16), "block"),
        ("model.layers.3.block_sparse_moe.gate.weight", (8, 16), "router"),
        ("model.layers.3.mlp.experts.7.up_proj.weight", (8, 16), "block"),
        ("model.layers.3.mlp.experts.gate_up_proj", (4, 8, 16), "block"),
        ("model.layers.3.mlp.experts.gate_up_proj_bias", (4, 8), "other"),
        ("model.layers.3.mlp.shared_expert_gate.weight", (1, 16), "router"),
        ("model.layers.3.self_attn.q_norm.weight", (16,), "norm"),
        ("model.layers.3.self_attn.q_proj.bias", (16,), "other"),
        ("model.layers.3.linear_attn.conv1d.weight", (16, 1, 4), "other"),
        ("vision_tower.blocks.3.mlp.fc1.weight", (8, 16), "other"),
        ("transformer.h.3.ln_1.weight", (16,), "norm"),
        ("transformer.wpe.weight", (8, 16), "embedding"),
        ("gpt_neox.embed_in.weight", (8, 16), "embedding"),
        ("embed_out.weight", (8, 16), "head"),
        ("lm_head.weight", (8, 16), "head"),
    ],
)
def test_parts(name, shape, part):
    assert part_of(name, shape) == part


@pytest.mark.parametrize(
    "share, verdict, pattern",
    [(0, "dense", "dense"), (0.04, "dense", "dense"), (0.06, "fixed-topology", "unstructured")],
)
def test_where_a_fixed_topology_begins(share, verdict, pattern, llama, folder):
    report = audit(saved(llama(), folder, with_zeros(share)))
    assert (report["verdict"], report["pattern"]) == (verdict, pattern)
    assert report["density"] == pytest.approx(1 - share, abs=1e-3)
    assert report["declared"] is None and report["moe"] is None
    assert ("begins above 5%" in report["reason"]) == (share == 0.04)


def test_negative_zeros_and_dead_lines_are_counted(llama, folder):
    def change(name, weight):
        weight = two_of_four(name, weight)
        weight[3] = -0.0
        return weight

    report = audit(saved(llama(), folder, change))
    for row in report["matrices"]:
        if row["part"] == "block":
            assert row["dead_rows"] == 1 and row["dead_columns"] == row["columns"] // 2
            assert row["negative_zeros"] >= row["columns"] and row["pattern"] == "2:4"
    assert report["pattern"] == "2:4"


def test_the_pattern_of_a_model_holds_in_all_its_sparse_matrices(llama, folder):
    """1:4 beside 2:4 is 2:4; matrices that were left dense do not count; one of no groups makes it unstructured."""

    def change(name, weight):
        if "down_proj" in name:
            return weight
        kept = [1, 0, 0, 0] if "q_proj" in name else [0, 1, 1, 0]
        return weight * torch.tensor(kept).repeat(weight.shape[1] // 4)

    report = audit(saved(llama(), folder, change))
    assert report["pattern"] == "2:4" and "in 12 of 14 matrices" in report["reason"]
    loose = with_zeros(0.5)
    changed = saved(llama(), folder, lambda n, w: loose(n, w) if "k_proj" in n else change(n, w))
    assert audit(changed)["pattern"] == "unstructured"


def test_implied_patterns_by_enumeration():
    """Against all masks of eight places."""
    masks = np.array(list(itertools.product([0, 1], repeat=8)))

    def holds(kept, of):
        return (masks.reshape(-1, 8 // of, of).sum(2) <= kept).all(1)

    kinds = [(kept, of) for of in (2, 4, 8) for kept in range(1, of)]
    for one, other in itertools.product(kinds, repeat=2):
        expected = bool((~holds(*one) | holds(*other)).all())
        assert implies("{}:{}".format(*one), "{}:{}".format(*other)) == expected, (one, other)


def block(structure, percent, form="dense"):
    return {"sparsity_config": {"format": form, "global_sparsity": percent, "sparsity_structure": structure}}


@pytest.mark.parametrize(
    "key, sparsity_config, wrong",
    [
        ("quantization_config", block("2:4", 50.0), []),
        ("quantization_config", block("2:4", 43.7), []),  # of all weights, embeddings and norms included
        ("compression_config", block("unstructured", 50.797), ["says unstructured, counted 2:4"]),
        ("compression_config", block("0:0", 50.0), ["says unstructured, counted 2:4"]),
        ("quantization_config", block("1:4", 50.0), ["says 1:4, counted 2:4"]),
        ("quantization_config", block("4:8", 50.0), []),
        (
            "quantization_config",
            block("2:4", 60),
            ["says sparsity 60.0%, counted 50.0% of the block weights"],
        ),
        ("quantization_config", block("2:4", 0.5), ["says sparsity 0.5%, counted 50.0%"]),
        (
            "quantization_config",
            block("2:4", 50, "sparse-24-bitmask"),
            ["says format sparse-24-bitmask, stored as dense"],
        ),
    ],
)
def test_declarations_are_held_against_the_count(key, sparsity_config, wrong, llama, folder):
    report = audit(saved(llama(), folder, two_of_four))
    overall = 1 - sum(p["nonzeros"] for p in report["parts"].values()) / sum(
        p["weights"] for p in report["parts"].values()
    )
    assert overall == pytest.approx(0.437, abs=0.001)
    configured(folder, **{key: {"quant_method": "compressed-tensors", **sparsity_config}})
    report = audit(folder)
    assert report["verdict"] == "fixed-topology" and report["pattern"] == "2:4"
    found = report["declared"]["contradictions"]
    assert len(found) == len(wrong) and all(a.startswith(b) for a, b in zip(found, wrong, strict=True))
    assert ("WRONG" in view.as_text([report], [])) == bool(wrong)


def test_a_declaration_of_a_dense_checkpoint(llama, folder):
    """A quantiser's note of a dense model is right, a pruner's that pruned nothing is wrong."""
    saved(llama(), folder)
    configured(folder, compression_config=block("unstructured", 0.1429))
    assert audit(folder)["declared"]["contradictions"] == []
    configured(folder, compression_config=block("2:4", 50))
    report = audit(folder)
    assert report["verdict"] == "dense" and len(report["declared"]["contradictions"]) == 2


@pytest.mark.parametrize("pattern", ["1:2", "1:3", "2:6", "3:6", "4:12", "12:24"])
def test_every_n_of_m_is_held_against_the_zeros(pattern, llama, folder):
    """Those too whose M is not looked for when nothing is declared."""
    model = llama(hidden_size=48, intermediate_size=96)
    prune(model, "magnitude", pattern).save(folder.parent / Topology.FILE)
    report = audit(saved(model, folder))
    assert report["declared"]["contradictions"] == [] and report["pattern"] == pattern


@pytest.mark.parametrize("left, percent", [(1, 50), (0.4, 80), (0.2, 90)])
def test_a_thin_pattern_with_an_empty_matrix_is_no_contradiction(left, percent, llama, folder):
    def change(name, weight):
        generator = torch.Generator().manual_seed(len(name))
        kept = torch.rand(weight.shape, generator=generator) < left
        return two_of_four(name, weight) * kept * ("layers.0.self_attn.k_proj" not in name)

    report = audit(saved(llama(hidden_size=64, intermediate_size=128), folder, change))
    assert left < 1 or report["pattern"] == "2:4"
    configured(folder, quantization_config=block("2:4", percent))
    report = audit(folder)
    assert report["pattern"] == "2:4"
    assert not any("says 2:4" in clause for clause in report["declared"]["contradictions"])
    configured(folder, quantization_config=block("1:4", percent))
    assert any("says 1:4" in clause for clause in audit(folder)["declared"]["contradictions"])


def test_few_zeros_with_a_topology_file_and_without(llama, folder):
    model = llama()
    prune(model, "magnitude", "unstructured", 0.02).save(folder.parent / Topology.FILE)
    report = audit(saved(model, folder))
    assert report["verdict"] == "fixed-topology" and report["declared"]["contradictions"] == []
    assert report["pattern"] == "unstructured" and "in 14 of 14 matrices" in report["reason"]
    (folder.parent / Topology.FILE).unlink()
    report = audit(folder)
    assert report["verdict"] == "dense" and "every weight exists" not in report["reason"]
    assert report["reason"].startswith("dense: 2.0% of the block weights are zero")
    configured(folder, quantization_config=block("unstructured", 2))
    assert audit(folder)["declared"]["contradictions"] == []
    configured(folder, hidden_act="relu")
    assert "every weight exists" not in audit(folder)["reason"]


def test_a_declaration_in_the_config_of_the_text_model(tmp_path):
    own = {"quantization_config": block("1:4", 75)}
    told, file = declared.read(tmp_path, {"text_config": own}, {"pattern": "2:4", "sparsity": 0.5})
    assert told["source"] == "config.json: text_config.quantization_config" and file is None
    assert (told["format"], told["pattern"], told["sparsity"]) == ("dense", "1:4", 0.75)


@pytest.mark.parametrize(
    "fields, line",
    [
        ([1], r"quantization_config is \[1\], expected fields"),
        ("gptq", "quantization_config is 'gptq', expected fields"),
        ({"sparsity_config": "2:4"}, "quantization_config.sparsity_config is '2:4', expected fields"),
        (block(["2:4"], 50), r"sparsity_structure is \['2:4'\], expected N:M"),
        (block("4:2", 50), "sparsity_structure is '4:2', expected N:M"),
        (block("2:4", "half"), "global_sparsity is 'half', expected a percentage"),
        (block("2:4", 50, ["dense"]), r"format is \['dense'\], expected a word"),
    ],
)
def test_declarations_that_cannot_be_read(fields, line, llama, folder):
    saved(llama(), folder, two_of_four)
    configured(folder, quantization_config=fields)
    with pytest.raises(UserError, match=rf"config\.json: {line}") as caught:
        audit(folder)
    assert "\n" not in str(caught.value)


def test_scales_of_float8_experts_are_no_weights(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mixtral", **MIXTURE}))
    expert = "model.layers.0.block_sparse_moe.experts.0.w1"
    tensors = {
        f"{expert}.weight": torch.ones(48, 32).to(torch.float8_e4m3fn),
        f"{expert}.weight_scale_inv": torch.ones(1, 1),
        "model.layers.0.mlp.experts.gate_up_proj_scale": torch.ones(4, 1, 8),
    }
    save_file(tensors, folder / "model.safetensors")
    report = audit(folder)
    assert [row["name"] for row in report["matrices"] if row["part"] == "block"] == [f"{expert}.weight"]
    assert report["parts"]["block"]["weights"] == 48 * 32


@pytest.mark.parametrize(
    "name", ["model.pt", "model.pth", "last.ckpt", "q4.gguf", "flax_model.msgpack", "a.bin"]
)
def test_weights_of_other_formats_are_not_called_none(name, llama, folder):
    saved(llama(), folder)
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(UserError, match=rf"{name}: .*; expected safetensors"):
        audit(folder)
    (folder / name).rename(folder / "training_args.bin")
    assert "the folder has no weights" in audit(folder)["reason"]


def test_weights_that_are_no_numbers_are_reported(llama, folder):
    def change(name, weight):
        return weight * float("nan") if "layers.1.mlp.up_proj" in name else weight

    reason = audit(saved(llama(), folder, change))["reason"]
    assert f"weights of {UP} are infinite or no numbers" in reason


@pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"])
def test_one_of_them_outside_the_blocks_is_reported_too(llama, folder, name):
    model = llama(tie_word_embeddings=False)
    model.get_parameter(name).data[3] = -torch.inf
    report = audit(saved(model, folder))
    clause = f"weights of {name} are infinite or no numbers"
    assert clause in report["reason"] and clause in " ".join(view.as_text([report], []).split())
    model.get_parameter("model.layers.1.input_layernorm.weight").data[0] = torch.nan
    assert "and of 1 more tensors are infinite" in audit(saved(model, folder))["reason"]


def test_a_router_s_numbers_that_are_no_matrix_have_no_row(llama, folder):
    saved(llama(), folder)
    stored = load_file(folder / "model.safetensors")
    odd = {"model.layers.0.router.scale": torch.tensor(2.0), "model.layers.0.gate.bias": torch.ones(4)}
    save_file(stored | odd, folder / "model.safetensors", {"format": "pt"})
    report = audit(folder)
    assert report["parts"]["router"] == {"weights": 5, "nonzeros": 5}
    assert not odd.keys() & {row["name"] for row in report["matrices"]}


def test_matrices_without_rows_or_columns(llama, folder):
    saved(llama(), folder)
    empty = {"model.layers.0.z.weight": torch.zeros(0, 4), "model.layers.0.y.weight": torch.zeros(4, 0)}
    save_file(load_file(folder / "model.safetensors") | empty, folder / "model.safetensors")
    report = audit(folder)
    assert report["verdict"] == "dense" and "0 weights" not in view.as_text([report], [])


def test_the_registry_is_held_against_the_count(llama, folder):
    saved(llama(), folder, two_of_four)
    assert audit(folder, entry={"pattern": "2:4", "sparsity": 0.5})["declared"]["contradictions"] == []
    wrong = audit(folder, entry={"pattern": "unstructured", "sparsity": 0.7})["declared"]
    assert wrong["source"] == "registry" and len(wrong["contradictions"]) == 2


def encoded(weight):
    """`sparse-bitmask` parts of a matrix, bit by bit."""
    rows, columns = weight.shape
    bits = np.zeros((rows, -(-columns // 8)), np.uint8)
    for row, column in itertools.product(range(rows), range(columns)):
        bits[row, column // 8] |= int(weight[row, column] != 0) << column % 8
    return {
        "shape": torch.tensor([rows, columns]),
        "bitmask": torch.from_numpy(bits),
        "compressed": weight[weight != 0],
    }


def test_decoded_formats_are_counted_like_dense_ones(llama, folder, tmp_path):
    saved(llama(), folder, with_zeros(0.7))
    expected = audit(folder)
    blocks = {row["name"] for row in expected["matrices"] if row["part"] == "block"}
    tensors = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        parts = encoded(weight) if name in blocks else {"": weight}
        tensors |= {f"{name.removesuffix('.weight')}.{p}" if p else name: t for p, t in parts.items()}
    save_file(tensors, folder / "model.safetensors")
    configured(folder, quantization_config=block("unstructured", 70, "sparse-bitmask"))
    report = audit(folder)
    assert report["format"] == "sparse-bitmask" and report["declared"]["contradictions"] == []
    assert sorted(map(str, report["matrices"])) == sorted(map(str, expected["matrices"]))


MIXTURE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


@pytest.mark.parametrize("share, verdict", [(0, "activation-sparse"), (0.5, "both")])
def test_mixtures_with_and_without_a_topology(share, verdict, folder):
    from transformers import MixtralConfig, MixtralForCausalLM

    model = MixtralForCausalLM(MixtralConfig(**MIXTURE))
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    change = with_zeros(share)
    save_file(
        {n: change(n, w) if part_of(n, w.shape) == "block" else w for n, w in weights.items()},
        folder / "model.safetensors",
    )
    report = audit(folder)
    assert report["verdict"] == verdict and report["moe"]["experts"] == 4
    assert ("every weight exists; not a fixed topology" in report["reason"]) == (share == 0)
    assert report["parts"]["router"] == {"weights": 2 * 4 * 32, "nonzeros": 2 * 4 * 32}
    assert report["moe"]["total_parameters"] == sum(p["weights"] for p in report["parts"].values())
    expert = [row for row in report["matrices"] if ".experts." in row["name"]]
    assert sum(row["weights"] for row in expert) == 2 * 4 * 3 * 32 * 48


def test_relu_and_a_topology(llama, folder):
    report = audit(saved(llama(hidden_act="relu"), folder))
    assert report["verdict"] == "activation-sparse" and "ReLU: relu" in report["reason"]
    assert audit(saved(llama(hidden_act="relu"), folder, two_of_four))["verdict"] == "both"


def test_config_alone(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    report = audit(folder)
    assert report["verdict"] == "not-counted" and "no weight was counted" in report["reason"]
    assert report["matrices"] == [] and report["density"] is None and report["pattern"] is None
    (folder / "config.json").write_text(json.dumps({"model_type": "mixtral", **MIXTURE}))
    report = audit(folder)
    assert report["verdict"] == "activation-sparse" and report["moe"]["active_experts"] == 2
    assert "every weight exists" not in report["reason"] and "fixed is not known" in report["reason"]
    assert "no weight was counted" in report["reason"] and "no weight was counted" in view.as_text(
        [report], []
    ).replace("\n    ", " ")


def test_packed_weights_are_not_counted(llama, folder):
    saved(llama(), folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name + "_packed"] = torch.zeros(48, 4, dtype=torch.int32)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    report = audit(folder)
    assert report["verdict"] == "not-counted" and report["density"] is None
    assert "no weight was counted, since the weights are packed" in report["reason"]


def test_codes_of_quantised_weights_are_not_counted(llama, folder):
    """Two 4-bit codes in a byte: a zero byte is no zero weight."""
    saved(llama(), folder)
    tensors = load_file(folder / "model.safetensors")
    changed = {n: torch.zeros(4, 4, dtype=torch.uint8) if "proj" in n else w for n, w in tensors.items()}
    save_file(changed, folder / "model.safetensors")
    report = audit(folder)
    assert report["verdict"] == "not-counted" and "no weight was counted" in report["reason"]
    changed["model.layers.0.mlp.up_proj.weight"] = torch.ones(48, 32)
    save_file(changed, folder / "model.safetensors")
    report = audit(folder)
    assert "13 tensors of integers, which may be codes of weights" in report["reason"]
    assert report["verdict"] == "not-counted" and report["density"] == 1, "one of 14 matrices shows nothing"


def words_of(rows, columns, dtype):
    return torch.zeros(rows, columns, dtype=dtype)


CODED = {  # format -> what stands for a matrix [rows, columns] called `name`
    "gptq": lambda name, r, c: {f"{name}.qweight": words_of(c // 8, r, torch.int32)},
    "awq": lambda name, r, c: {f"{name}.qweight": words_of(c, r // 8, torch.int32)},
    "bitsandbytes 4 bit": lambda name, r, c: {f"{name}.weight": words_of(r * c // 2, 1, torch.uint8)},
    "hqq": lambda name, r, c: {f"{name}.W_q": words_of(r, c // 2, torch.uint8)},
    "aqlm": lambda name, r, c: {f"{name}.codes": words_of(r, c // 8, torch.int16)},
    "marlin": lambda name, r, c: {f"{name}.B": words_of(c // 16, 2 * r, torch.int32)},
    "mxfp4 of experts": lambda name, r, c: {
        f"{name}.experts.up_proj_blocks": words_of(r, c // 2, torch.uint8)
    },
    "packed": lambda name, r, c: {f"{name}.weight_packed": words_of(r, c // 8, torch.int32)},
}


@pytest.mark.parametrize("form", CODED)
@pytest.mark.parametrize("declares", [None, "2:4"])
def test_the_verdict_on_coded_weights_is_not_dense_whatever_they_declare(form, declares, llama, folder):
    saved(llama(), folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if "proj" in name]:
        tensors |= CODED[form](name.removesuffix(".weight"), *tensors.pop(name).shape)
    save_file(tensors, folder / "model.safetensors")
    block = {"sparsity_structure": declares, "global_sparsity": 50.0} if declares else {}
    configured(folder, quantization_config={"quant_method": form, "sparsity_config": block})
    report = audit(folder)
    assert (report["verdict"], report["density"], report["pattern"]) == ("not-counted", None, None)
    said = "it declares 2:4, sparsity 50.0%" if declares else "it declares nothing"
    assert said in report["reason"] and "no weight was counted" in report["reason"]
    assert said in " ".join(view.as_text([report], []).split())


def test_integers_that_are_no_weights_leave_a_checkpoint_dense(llama, folder):
    """Causal masks that older GPT-2 and GPT-NeoX checkpoints store as `attn.bias`."""
    saved(llama(), folder)
    masks = {f"model.layers.{n}.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8) for n in (0, 1)}
    save_file(load_file(folder / "model.safetensors") | masks, folder / "model.safetensors")
    assert audit(folder)["verdict"] == "dense"


def test_zeros_of_some_matrices_show_a_topology_where_others_are_coded(llama, folder):
    saved(llama(), folder, two_of_four)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.qweight"] = words_of(4, 48, torch.int32)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    report = audit(folder)
    assert report["verdict"] == "fixed-topology" and "1 tensors of integers" in report["reason"]


def test_tensors_of_a_type_that_is_not_read_are_reported_and_the_rest_counted(llama, folder):
    """Scales in powers of two, whose zero byte is 2**-127, and 16-bit codes."""
    saved(llama(), folder, two_of_four)
    expected = audit(folder)["matrices"]
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    tensors[f"{name}.scales"] = torch.zeros(4, 4).to(torch.float8_e8m0fnu)
    tensors[f"{name}.codes"] = torch.zeros(4, 4, dtype=torch.uint16)
    save_file(tensors, folder / "model.safetensors")
    report = audit(folder)
    assert report["matrices"] == expected and report["pattern"] == "2:4"
    assert "1 tensors of type F8_E8M0, which is not read, were not counted" in report["reason"]
    assert "1 tensors of integers, which may be codes of weights, were not counted" in report["reason"]


@pytest.mark.parametrize("shape", ["tensor", "row", "rows alone", "group"])
def test_eight_bit_weights_with_a_zero_point(shape, llama, folder):
    """What is stored as 0 is no zero then, and what is stored as the zero point is."""
    model = llama()
    saved(model, folder)
    tensors, kept, blocks = load_file(folder / "model.safetensors"), {}, prunable(model)
    generator = torch.Generator().manual_seed(1)
    for name in blocks:
        rows, columns = tensors[name].shape
        sizes = {"tensor": (1,), "row": (rows, 1), "rows alone": (rows,), "group": (rows, columns // 8)}
        point = torch.randint(-9, 9, sizes[shape], generator=generator)
        codes = torch.randint(-99, 99, (rows, columns), generator=generator)
        for row, column in itertools.product(range(rows), range(columns)):
            here = {"tensor": 0, "row": (row, 0), "rows alone": row, "group": (row, column // 8)}[shape]
            codes[row, column] = point[here] if (row + column) % 3 == 0 else codes[row, column]
            kept[name] = kept.get(name, 0) + int(codes[row, column] != point[here])
        tensors[name], tensors[name + "_zero_point"] = codes.to(torch.int8), point.to(torch.int8)
        tensors[name + "_scale"] = torch.ones(rows, 1)
    save_file(tensors, folder / "model.safetensors")
    report = audit(folder)
    found = {row["name"]: row["nonzeros"] for row in report["matrices"] if row["part"] == "block"}
    assert found == kept and report["verdict"] == "fixed-topology"
    assert sum(part["weights"] for part in report["parts"].values()) == sum(
        p.numel() for p in model.parameters()
    )
    assert report["keys"]["surplus"] == []


def test_eight_bit_weights_with_a_zero_point_of_an_unknown_shape(llama, folder):
    saved(llama(), folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = torch.zeros(tensors[name].shape, dtype=torch.int8)
    tensors[name + "_zero_point"] = torch.ones(3, 5, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors")
    report = audit(folder)
    assert "1 tensors of integers, which may be codes of weights, were not counted" in report["reason"]
    assert name not in {row["name"] for row in report["matrices"]}


@pytest.mark.parametrize("family", [*FAMILIES, "tied", "Mixtral"])
def test_whole_checkpoints_have_the_keys_of_their_model(family, llama, folder):
    from transformers import MixtralConfig, MixtralForCausalLM

    made = {
        "tied": lambda: llama(tie_word_embeddings=True),
        "Mixtral": lambda: MixtralForCausalLM(MixtralConfig(**MIXTURE)),
    }
    model = made.get(family, lambda: build(family))()
    report = audit(saved(model, folder))
    assert report["keys"] == {
        "model": type(model).__name__, "missing": [], "surplus": [], "misshapen": [], "unjoined": False
    }  # fmt: skip
    assert "none missing, none surplus" in view.as_text([report], [])


def without(tensors, word):
    return {name: tensor for name, tensor in tensors.items() if word not in name}


UP = "model.layers.1.mlp.up_proj.weight"
KEYS = {  # what is done to the tensors, which of the lists then is what, and the line
    "missing": (lambda t: without(t, UP), {"missing": [UP]}, f"WRONG: 1 missing ({UP})"),
    "surplus": (
        lambda t: t | {f"model.layers.{n}.gone.weight": torch.ones(2, 2) for n in range(5)},
        {"surplus": [f"model.layers.{n}.gone.weight" for n in range(5)]},
        "WRONG: 5 surplus (model.layers.0.gone.weight, model.layers.1.gone.weight, model.layers.2.gone.weight, ...)",
    ),
    "misshapen": (
        lambda t: t | {UP: torch.ones(3, 32)},
        {"misshapen": [f"{UP} (3 x 32, expected 48 x 32)"]},
        f"WRONG: 1 misshapen ({UP} (3 x 32, expected 48 x 32))",
    ),
    "no surplus": (
        lambda t: (
            t
            | {
                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
                "model.layers.0.self_attn.q_proj.weight_scale": torch.ones(1),
                "model.layers.0.self_attn.q_proj.input_scale": torch.ones(1),
            }
        ),
        {},
        "none missing, none surplus",
    ),
}


@pytest.mark.parametrize("what", KEYS)
def test_keys_that_are_not_those_of_the_model_are_named(what, llama, folder):
    change, wrong, line = KEYS[what]
    saved(llama(), folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    configured(folder, compression_config=block("unstructured", 0.0))
    report = audit(folder)
    lists = {"missing": [], "surplus": [], "misshapen": []} | wrong
    assert report["keys"] == {"model": "LlamaForCausalLM", **lists, "unjoined": False}
    assert line in " ".join(view.as_text([report], []).split())


def test_an_expert_that_is_missing(folder):
    from transformers import MixtralConfig, MixtralForCausalLM

    saved(MixtralForCausalLM(MixtralConfig(**MIXTURE)), folder)
    path = folder / "model.safetensors"
    save_file(without(load_file(path), "layers.0.block_sparse_moe.experts.2.w1"), path)
    report = audit(folder)
    assert report["keys"]["unjoined"] and "an expert is missing" in " ".join(
        view.as_text([report], []).split()
    )


@pytest.mark.parametrize("named", [None, [], ["NovelForCausalLM"], ["GPT2LMHeadModel"], ["Tensor"], "Llama"])
def test_keys_of_an_architecture_that_transformers_lacks_are_not_reported(named, llama, folder):
    saved(llama(), folder)
    configured(folder, architectures=named)
    report = audit(folder)
    assert report["keys"] is None and report["verdict"] == "dense"


def test_weights_are_not_looked_at_when_the_config_is_to_judge(llama, folder):
    """Nor when they are damaged, or the index names shards that are not there."""
    saved(llama(), folder, two_of_four)
    report = audit(folder, config_only=True)
    assert (report["verdict"], report["density"], report["matrices"], report["keys"]) == (
        "not-counted",
        None,
        [],
        None,
    )
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    report = audit(folder, config_only=True)
    assert "no weight was counted, since only the config was to be looked at" in report["reason"]


def test_nested_topologies(llama, tmp_path):
    """Three checkpoints on one set of places: half, a quarter inside it, and the other half."""

    def keeping(*kept):
        return lambda name, weight: weight * torch.tensor(kept).repeat(weight.shape[1] // 4)

    places = {"half": (1, 1, 0, 0), "quarter": (1, 0, 0, 0), "other": (0, 0, 1, 1), "again": (1, 1, 0, 0)}
    folders = [saved(llama(), tmp_path / name, keeping(*kept)) for name, kept in places.items()]
    folders.append(saved(llama(intermediate_size=64), tmp_path / "wider"))
    reports = [audit(folder, folder.name) for folder in folders]
    found = {(row["first"], row["second"]): row for row in compare(folders, reports)}
    assert len(found) == 6 and not any("wider" in pair for pair in found)
    weights = found["half", "quarter"]["weights"]
    assert found["half", "quarter"]["relation"] == "second within first"
    assert found["half", "quarter"]["hamming"] == weights // 4
    assert found["half", "other"]["relation"] == "different" and found["half", "other"]["hamming"] == weights
    assert found["half", "again"]["relation"] == "same" and found["half", "again"]["hamming"] == 0
    pair = found["half", "again"]
    assert pair["first_sha256"] == pair["second_sha256"] != found["half", "other"]["second_sha256"]
    masks = {n: m.weight != 0 for n, m in prunable(llama()).items()}
    masks = {n: m & torch.tensor(places["half"]).bool().repeat(m.shape[1] // 4) for n, m in masks.items()}
    assert pair["first_sha256"] == Topology(masks, "2:4", "by hand").sha256
    text = view.as_text(reports, list(found.values()))
    assert "2 within 1" in text and "1 and 3 differ" in text and "1 and 4 have the same" in text


def test_weights_that_their_topology_file_says_are_absent(llama, folder):
    model = llama()
    prune(model, "magnitude", "2:4").save(folder.parent / Topology.FILE)
    name, module = next(iter(prunable(model).items()))
    absent = (module.weight == 0).nonzero()[:3]
    module.weight.data[absent[:, 0], absent[:, 1]] = 1
    report = audit(saved(model, folder))
    wrong = f"{name}: 3 weights that it says are absent are not zero"
    assert wrong in report["declared"]["contradictions"]


def topology_of(change):
    def make(folder, llama):
        model = llama()
        topology = prune(model, "magnitude", "2:4")
        saved(model, folder)
        change(topology.masks)
        topology.save(folder / Topology.FILE)

    return make


def damaged(folder, llama):
    topology_of(lambda masks: None)(folder, llama)
    path = folder / Topology.FILE
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def surplus(masks):
    masks["model.layers.9.mlp.up_proj.weight"] = torch.ones(2, 2, dtype=torch.bool)


def misshapen(masks):
    masks["model.layers.0.mlp.up_proj.weight"] = torch.ones(4, 4, dtype=torch.bool)


def cut(folder, llama):
    saved(llama(), folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder, llama):
    saved(llama(), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def unknown(folder, llama):
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "novel"}')


BROKEN = {
    "no folder": (lambda folder, llama: None, "no such folder"),
    "no config": (lambda folder, llama: folder.mkdir(), "no config.json"),
    "unknown type": (unknown, "does not know model_type 'novel', and none of the fields num_local_experts"),
    "truncated": (cut, "truncated"),
    "pickles": (pickled, "pickled weights"),
    "damaged topology": (damaged, "damaged or edited"),
    "surplus mask": (topology_of(surplus), "the topology file has this matrix, the checkpoint has not"),
    "misshapen mask": (topology_of(misshapen), "the checkpoint's is 48 x 32, the topology file's 4 x 4"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_checkpoints(what, llama, folder):
    make, line = BROKEN[what]
    make(folder, llama)
    with pytest.raises(UserError, match=line):
        audit(folder)


def test_csv_and_figure(llama, folder, tmp_path):
    from matplotlib.image import imread

    report = audit(saved(llama(), folder, with_zeros(0.5)))
    lines = view.as_csv([report]).splitlines()
    assert len(lines) == 1 + len(report["matrices"]) and lines[0].startswith("path,name,part,layer")
    view.draw([report, report], tmp_path / "one.png")
    assert imread(tmp_path / "one.png").shape[1] > 600
    with pytest.raises(UserError, match="found .jpeg, expected .png"):
        view.draw([report], tmp_path / "one.jpeg")
    with pytest.raises(UserError, match="nothing to draw"):
        view.draw([{**report, "density": None}], tmp_path / "two.png")


def test_what_a_word_names(tmp_path, monkeypatch):
    from sparse_continual.bases import download

    asked = []
    monkeypatch.setattr(download, "fetch", lambda *given, **more: asked.append((given, more)) or tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    folder, entry, commit = locate("here")
    assert folder.resolve() == tmp_path / "here" and entry is None and commit is None and not asked
    _, entry, commit = locate("neuralmagic/Sparse-Llama-3.1-8B-2of4")
    assert entry["name"] == "Sparse-Llama-3.1-8B-2of4"
    assert asked[-1][0][0] == entry["repo"] and asked[-1][1]["to_load"] is False
    assert commit == tmp_path.name  # the cache calls a folder by its commit
    assert locate("Sparse-Llama-3.1-8B-2of4@abc")[1] == entry and asked[-1][0][1] == "abc"
    assert locate("owner/name", config_only=True)[1] is None
    assert asked[-1] == (("owner/name", None), {"kind": "config"})
    assert locate("owner/name", tmp_path)[1] is None
    assert asked[-1] == (
        ("owner/name", None, tmp_path / "owner--name"),
        {"convert_pickles": True, "to_load": False},
    )
    for word in ("nowhere", "here/nothing", "a/b/c"):
        with pytest.raises(UserError, match="no such folder"):
            locate(word)
