"""A base of another family, from its config.json to the plan: counted once, and one number everywhere."""

import csv
import json
import subprocess

import pytest
import yaml
from driver import TINY, command, snakemake

from sparse_continual.errors import UserError
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study

FIELDS = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
BLOCK = 4 * 32 * 32 + 2 * 32 * 96


@pytest.fixture
def base(tmp_path):
    """Folder of a small GPT-NeoX, beside the config of a study on it."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from sparse_continual.models.load import save_model
    from sparse_continual.streams.lexicon import tokenizer

    words = tokenizer()
    config = GPTNeoXConfig(vocab_size=len(words), max_position_embeddings=64, **FIELDS)
    save_model(GPTNeoXForCausalLM(config), words, tmp_path / "base")
    arm = {"base": "other", "mechanism": "finetune"}
    config = yaml.safe_load(TINY.read_text())
    config["bases"] = {"other": {"source": "local", "path": str(tmp_path / "base")}}
    config["topologies"] = {"dense": {"method": "dense"}, "half": {"method": "magnitude", "pattern": "2:4"}}
    config["mechanisms"] = {"finetune": {"kind": "finetune"}}
    config["conditions"] = {"dense": {**arm, "topology": "dense"}, "sparse": {**arm, "topology": "half"}}
    contrast = {"name": "same", "plus": ["sparse"], "minus": ["dense"], "estimand": "same_shape"}
    config["study"] |= {"name": "other", "conditions": ["dense", "sparse"], "contrasts": [contrast]}
    for key in ("claims", "references", "repeat"):
        config["study"][key] = None
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "base"


def test_a_base_of_another_family_is_planned_as_it_is(base, checkout, tmp_path):
    from sparse_continual.models.load import load_model

    folder = tmp_path / "work"
    folder.mkdir()
    line = ["--configfile", tmp_path / "other.yaml", "--replace-workflow-config"]
    plan = snakemake(checkout, folder, "plan", *line)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "gpt_neox 32 L2" in plan.stdout
    counted = sorted((folder / "results" / "store" / "architectures").iterdir())
    assert len([path for path in counted if "-" not in path.name]) == 1

    # from here on nobody can count: every start finds what was counted
    broken = tmp_path / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no counting here')\n")
    words, environment = command(checkout, folder, "-n", *line)
    environment["PYTHONPATH"] += f":{broken.parent}"
    again = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert sorted((folder / "results" / "store" / "architectures").iterdir()) == counted

    with open(folder / "results" / "other" / "budget.csv", newline="") as handle:
        dense, sparse = csv.DictReader(handle)
    total = sum(parameter.numel() for parameter in load_model(base).parameters())
    assert int(dense["parameters"]) == int(sparse["parameters"]) == total
    assert int(dense["prunable"]) == int(dense["nonzeros"]) == 2 * int(sparse["nonzeros"]) == 2 * BLOCK
    saved = float(sparse["forward_executed"]) - float(sparse["forward_theoretical"])
    assert saved == pytest.approx(2 * BLOCK)  # half the weights, 2 FLOPs each


def test_a_config_that_transformers_refuses_is_one_line(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
    with pytest.raises(UserError) as refused:
        Study(checked(yaml.safe_load((tmp_path / "other.yaml").read_text())))
    message = str(refused.value)
    assert message.startswith(f"bases.other: {base}/config.json: transformers ") and "\n" not in message
