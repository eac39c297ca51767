"""Mixtures that keep the experts of a block in one parameter: every expert's matrix is one of its own for a method, on
the tokens that the router sends to it, as worked out here by hand from what the router says.
"""

import pytest
import torch
from layers import method, one_shot
from safetensors.torch import load_file, save_file

from sparse_continual import prune, registry
from sparse_continual.auditing.audit import audit
from sparse_continual.errors import UserError
from sparse_continual.models.experts import experts_apart
from sparse_continual.models.load import load_model, matrix_of, prunable, save_model
from sparse_continual.pruning import make
from sparse_continual.pruning.measure import layer_errors
from sparse_continual.runs.mechanism import Mechanism, Setting
from sparse_continual.runs.mechanisms.lora import Mechanism as Lora
from sparse_continual.streams.lexicon import tokenizer
from sparse_continual.streams.tasks import make_split
from sparse_continual.topologies.counts import Count, kept_total
from sparse_continual.topologies.topology import Topology
from sparse_continual.training.gradual import lm_loss
from sparse_continual.training.loop import adamw, step

EXPERTS = 4
COMMON = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
DEEPSEEK = {
    "n_routed_experts": EXPERTS,
    "n_group": 2,
    "topk_group": 1,
    "n_shared_experts": 1,
    "moe_intermediate_size": 12,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
}
FAMILIES = {  # settings; blocks with experts; matrices once the experts are apart; and inside the experts
    "Mixtral": ({"num_local_experts": EXPERTS}, [0, 1], 2 * (4 + 8), 24),
    "Qwen3Moe": (
        {"num_experts": EXPERTS, "moe_intermediate_size": 12, "head_dim": 4, "decoder_sparse_step": 1},
        [0, 1],
        2 * (4 + 8),
        12,
    ),
    # a dense first block; queries, keys and values by way of low ranks; an expert that all tokens pass
    "DeepseekV3": (DEEPSEEK, [1], (5 + 3) + (5 + 3 + 8), 12),
    "Olmoe": ({"num_experts": EXPERTS}, [0, 1], 2 * (4 + 8), 24),
}


def build(family, **changes):
    import transformers

    config = getattr(transformers, f"{family}Config")(**{**COMMON, **FAMILIES[family][0], **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@torch.no_grad()
def routed(model, block, row):
    """Name of an expert's matrix -> its inputs [tokens, columns] of one row, by the layer's weights and routing."""
    experts, seen = model.model.layers[block].mlp.experts, {}
    name = f"model.layers.{block}.mlp.experts"

    def record(module, args):
        states, chosen, _ = args
        for expert in range(EXPERTS):
            inputs = states[(chosen == expert).any(1)]
            gate, up = (inputs @ experts.gate_up_proj[expert].T).chunk(2, -1)
            seen[f"{name}.gate_up_proj.{expert}.weight"] = inputs
            seen[f"{name}.down_proj.{expert}.weight"] = torch.nn.functional.silu(gate) * up

    handle = experts.register_forward_pre_hook(record)
    model(row[None])
    handle.remove()
    return seen


def expert_of(model, part):
    """Slice of the parameter that an expert's matrix is."""
    name, number = part.removesuffix(".weight").rsplit(".", 1)
    return model.get_parameter(name)[int(number)]


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_are_linears_for_a_while(family, rows):
    model = build(family)
    _, blocks, matrices, wide = FAMILIES[family]
    before, kind = dict(model.named_parameters()), model.get_experts_implementation()
    stacked = {n: tuple(m.weight.shape) for n, m in prunable(model).items() if m.weight.ndim == 3}
    assert stacked == {
        f"model.layers.{n}.mlp.experts.{name}": (EXPERTS, *shape)
        for n in blocks
        for name, shape in (("gate_up_proj", (2 * wide, 16)), ("down_proj", (16, wide)))
    }
    with torch.no_grad():
        whole = model(rows[:3]).logits
        with pytest.raises(KeyError), experts_apart(model) as parts:
            assert parts == {n: [f"{n}.{e}.weight" for e in range(EXPERTS)] for n in stacked}
            assert {part for own in parts.values() for part in own} <= prunable(model).keys()
            assert len(prunable(model)) == matrices and all(
                isinstance(m, torch.nn.Linear) for m in prunable(model).values()
            )
            torch.testing.assert_close(model(rows[:3]).logits, whole)
            raise KeyError  # whatever happens meanwhile
    after = dict(model.named_parameters())
    assert list(after) == list(before) and all(after[n] is before[n] for n in before)
    assert model.get_experts_implementation() == kind
    name, module = next((n, m) for n, m in prunable(model).items() if n in stacked)
    assert matrix_of(module).shape == (EXPERTS * 2 * wide, 16)
    assert torch.equal(matrix_of(module, matrix_of(module)), before[name])


@pytest.mark.parametrize("name, pattern", [("wanda", "unstructured"), ("sparsegpt", "2:4")])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_expert_is_pruned_as_by_hand_on_the_tokens_routed_to_it(family, name, pattern, rows):
    """By the method's kernel on the slice; a block reads what the pruned ones before it put out."""
    chosen, rows = method(name), rows[:12]
    model, byhand = build(family), build(family)
    topology = prune(model, name, pattern, 0.5 if pattern == "unstructured" else None, rows)
    for block in range(2):
        statistics = {}
        for row in rows if block in FAMILIES[family][1] else ():
            for part, inputs in routed(byhand, block, row).items():
                if len(inputs):
                    statistics.setdefault(part, chosen.statistics(inputs.shape[1], "cpu")).add(inputs)
        for part, found in statistics.items():
            weight = expert_of(byhand, part).detach()
            count = Count(weight.numel() // 2, (2, 4) if pattern == "2:4" else None)
            mask, new = chosen.prune_matrix(weight, found, count)
            whole, number = part.removesuffix(".weight").rsplit(".", 1)
            assert torch.equal(topology.masks[whole][int(number)], mask), part
            torch.testing.assert_close(
                expert_of(model, part).detach(), (new * mask).float(), rtol=1e-3, atol=1e-4
            )
            assert topology.record["kept"][part] == count.kept
        assert len(statistics) == (2 * EXPERTS if block in FAMILIES[family][1] else 0)
        done = byhand.model.layers[block]
        done.load_state_dict(model.model.layers[block].state_dict())


METHODS = [n for n in registry.names("pruning.methods") if n not in ("dense", "counted")]
OPTIONS = {"shuffled": {"of": "wanda"}, "maskllm": {"prior": "none"}, "wandapp": {"samples": 4, "rounds": 1}}
SHORT = {"steps": 4, "batch_size": 3, "warmup": 1}


@pytest.mark.parametrize(
    "name", [n for n in METHODS if "structured" not in registry.load("pruning.methods", n).patterns]
)
def test_every_method_leaves_exact_counts_and_routers_alone(name, rows):
    """One-shot ones and those that train."""
    options = OPTIONS.get(name, {}) | (SHORT if not one_shot(name) and name != "snip" else {})
    method(options.get("of", name))
    for kind in method(name).patterns:
        model = build("DeepseekV3")
        before, linears = parameters(model), prunable(model)
        pattern, sparsity = ("2:4", None) if kind == "N:M" else (kind, 0.3)
        topology = prune(model, name, pattern, sparsity, rows[:6], **options)
        sizes = {n: tuple(matrix_of(m).shape) for n, m in linears.items()}
        assert {n: mask.shape for n, mask in topology.masks.items()} == {
            n: m.weight.shape for n, m in linears.items()
        }
        assert sum(int(m.sum()) for m in topology.masks.values()) == kept_total(sizes, pattern, sparsity)
        if pattern == "2:4":
            assert all((m.reshape(-1, 4).sum(1) == 2).all() for m in topology.masks.values())
        topology.check(model)
        for n, parameter in model.named_parameters():
            assert torch.equal(parameter, before[n]) == (n not in linears), n
            assert parameter.requires_grad and parameter.grad is None


def test_a_gradient_reaches_every_expert(rows):
    """SNIP's choice by the gradients of the parameters as they are kept."""
    model, byhand = build("Mixtral"), build("Mixtral")
    topology = prune(model, "snip", sparsity=0.3, calibration=rows)
    lm_loss(byhand, list(rows)).backward()
    scores = {n: (m.weight * m.weight.grad).detach().abs() for n, m in prunable(byhand).items()}
    total = sum(int(m.sum()) for m in topology.masks.values())
    least = torch.cat([s.flatten() for s in scores.values()]).topk(total).values[-1]
    differ = sum(int(((s >= least) != topology.masks[n]).sum()) for n, s in scores.items())
    assert differ <= 4  # by rounding at the boundary


def test_an_expert_that_no_token_reached_is_named(rows):
    """Two tokens reach four experts of eight at most. As is one that a pattern does not fit."""
    model = build("Mixtral", num_local_experts=8)
    names, kind = [n for n, _ in model.named_parameters()], model.get_experts_implementation()
    with pytest.raises(UserError, match=r"mlp.experts.gate_up_proj.\d.weight: no calibration token reached"):
        prune(model, "wanda", "2:4", calibration=rows[:1, :2])
    assert [n for n, _ in model.named_parameters()] == names
    assert model.get_experts_implementation() == kind
    with pytest.raises(UserError, match="experts.down_proj.0.weight: pattern 4:8 needs rows that 8 divides"):
        prune(build("Qwen3Moe"), "magnitude", "4:8")


def test_an_expert_that_no_token_reached_has_no_gradient(rows):
    """So SNIP, which compares over matrices, would leave it nothing; training goes on without it."""
    few = rows[:1, :4]
    model = build("Mixtral", num_local_experts=16)
    prune(model, "gmp", "2:4", calibration=few, **SHORT).check(model)
    with pytest.raises(UserError, match=r"proj.\d.weight: allocation global would empty this matrix"):
        prune(build("Mixtral", num_local_experts=16), "snip", sparsity=0.6, calibration=few)


@pytest.mark.parametrize(
    "name", [n for n in METHODS if "structured" in registry.load("pruning.methods", n).patterns]
)
def test_whole_heads_and_channels_of_mixtures_are_refused(name, rows):
    for family in ("Mixtral", "DeepseekV3"):
        with pytest.raises(
            UserError, match="model.layers.0: found .*; structured pruning expects one each of"
        ):
            prune(build(family), name, "structured", 0.5, rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_mixture_comes_back_and_its_audit_agrees(family, tmp_path):
    """Also with its topology file, whose parameters are many tensors of the checkpoint."""
    model = build(family)
    topology = prune(model, "magnitude", "2:4")
    save_model(model, tokenizer(), tmp_path)
    topology.save(tmp_path / topology.FILE)
    found, again = Topology.load(tmp_path / topology.FILE), load_model(tmp_path)
    assert found.sha256 == topology.sha256
    assert all(torch.equal(found.masks[n], mask) for n, mask in topology.masks.items())
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))
    found.check(again)
    report = audit(tmp_path)
    assert (report["verdict"], report["pattern"], report["density"]) == ("both", "2:4", topology.density)
    assert report["declared"]["source"] == topology.FILE and report["declared"]["contradictions"] == []
    path = tmp_path / "model.safetensors"
    stored = load_file(path)
    name = next(n for n in stored if ".experts.2." in n and stored[n].shape[1] == 16)
    stored[name][stored[name] == 0] = 1
    save_file(stored, path, metadata={"format": "pt"})
    assert (
        f"{name}: {stored[name].numel() // 2} weights that it says are absent are not zero"
        in (audit(tmp_path)["declared"]["contradictions"])
    )


def test_fine_tuning_under_the_topology(rows):
    """Absent weights of experts stay zero, those that exist are trained, and nothing else is."""
    model = build("Mixtral")
    topology = prune(model, "magnitude", "2:4")
    linears, before, exists = prunable(model), parameters(model), topology.masks
    mechanism = Mechanism(Setting(model, linears, exists, exists, "frozen", 0), {})
    assert sum(p.numel() for p in mechanism.parameters()) == sum(int(m.sum()) for m in exists.values())
    lm_loss(model, list(rows[:8])).backward()
    gradient = mechanism.places.gradient.clone()
    plain = build("Mixtral")
    plain.load_state_dict(model.state_dict())
    lm_loss(plain, list(rows[:8])).backward()
    wanted = torch.cat([m.weight.grad[exists[n]] for n, m in prunable(plain).items()])
    torch.testing.assert_close(gradient, wanted)
    optimizer = adamw(mechanism.parameters(), 1e-2)
    for at in range(3):
        step(lm_loss(model, list(rows[8 * at : 8 * at + 8])), optimizer, mechanism.places)
    mechanism.verify()
    topology.check(model)
    for name, value in parameters(model).items():
        if name in linears:
            assert (value != before[name])[exists[name]].float().mean() > 0.9
        else:
            assert torch.equal(value, before[name])
    state = mechanism.state()
    other = build("Mixtral")
    other.load_state_dict(before)
    Mechanism(Setting(other, prunable(other), exists, exists, "frozen", 0), {}).load(state)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("form", ["masked", "side"])
def test_lora_refuses_experts_by_name(form):
    model = build("Mixtral")
    settings = {"rank": 2, "alpha": 16, "form": form}
    with pytest.raises(
        UserError, match="lora: model.layers.0.mlp.experts.gate_up_proj holds .* of 4 experts"
    ):
        Lora(Setting(model, prunable(model), None, None, "frozen", 0), settings)


def test_errors_of_experts_are_those_on_their_tokens(rows):
    dense, pruned = build("Mixtral"), build("Mixtral")
    prune(pruned, "magnitude", "2:4")
    rows = list(rows[:12])
    found = {row["matrix"]: row for row in layer_errors(dense, pruned, rows)}
    part = "model.layers.1.mlp.experts.down_proj.2.weight"
    x = torch.cat([routed(dense, 1, row)[part] for row in rows]).T.double()
    before, after = (expert_of(model, part).detach().double() for model in (dense, pruned))
    error = float(((before - after) @ x).norm() / (before @ x).norm())
    assert found[part]["error"] == pytest.approx(error, rel=1e-4)
    assert (found[part]["layer"], found[part]["module"]) == (1, "down_proj")


def test_a_topology_is_made_recovered_and_found_again_in_the_zeros(rows, tmp_path):
    words = tokenizer()
    save_model(build("Mixtral", vocab_size=len(words)), words, tmp_path / "source")
    mixture = [(1, make_split(rows.numpy(), [1] * len(rows)))]
    sparse = {"method": "magnitude", "pattern": "2:4"}
    recovery = {"steps": 2, "batch_size": 6, "learning_rate": 1e-3, "warmup": 1}
    settings = {"topology": sparse, "recovery": recovery}
    facts, densities = make.make_topology(settings, tmp_path / "source", mixture, tmp_path / "made", 3)
    assert {(row["density"], row["pattern"]) for row in densities} == {(0.5, "2:4")}
    assert {row["module"] for row in densities} >= {"gate_up_proj", "down_proj"}
    counted = {"topology": {"method": "counted"}, "recovery": None}
    again, _ = make.make_topology(counted, facts["folder"], [], tmp_path / "counted", 3)
    assert again["topology"] == facts["topology"]
