"""Each mistake is one clear line, before anything is made."""

import json
import os
import shutil
import struct
import subprocess
import sys

import pytest
import yaml
from driver import ROOT, TINY, command, snakemake, tiny

from sparse_continual.errors import ConfigError, UserError
from sparse_continual.study.config import checked
from sparse_continual.study.study import Study


def changed(path, value):
    """The tiny study's config with `value` at the dotted `path`."""
    config = yaml.safe_load(TINY.read_text())
    *parents, last = path.split(".")
    section = config
    for name in parents:
        section = section[int(name) if isinstance(section, list) else name]
    section[int(last) if isinstance(section, list) else last] = value
    return config


def complaint(config):
    """The one line that a start ends with."""
    with pytest.raises((ConfigError, UserError)) as caught:
        Study(checked(config))
    message = str(caught.value)
    assert message and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("study.bloks", 6, ["config: study: unknown key 'bloks'", "did you mean 'blocks'?"]),
        ("figures.density.titel", "x", ["config: figures.density: unknown key 'titel'", "'title'"]),
        ("streams.people.poeple", 8, ["config: streams.people: unknown key 'poeple'", "'people'"]),
        ("bases.tiny.mixture.0.sharing", 1, ["config: bases.tiny.mixture.0: unknown key 'sharing'", "'share'"]),
        ("study.blocks", "six", ["config: study.blocks: found 'six', expected integer"]),
        ("study.tuning.learning_rates", ["1e-4"], ["study.tuning.learning_rates.0", "'1e-4'", "write 1.0e-4"]),
        ("study.blocks", 0, ["config: study.blocks: found 0, expected at least 1"]),
        ("study.conditions", [], ["config: study.conditions: found [], expected at least 1"]),
        ("topologies.wanda.sparsity", 1.5, ["config: topologies.wanda.sparsity: found 1.5, expected less than 1"]),
        ("study.training.ends", "thawed", ["config: study.training.ends: found 'thawed'", "frozen, trained"]),
        ("study.training.stop", {"loss": 0.1}, ["config: study.training.stop: found loss", "{loss, cap, every}"]),
        ("study.name", "../x", ["config: study.name: found '../x', expected letters, digits"]),
        ("mechanisms", {"a/b": {"kind": "lora", "rank": 1}}, ["config: mechanisms: found 'a/b'", "letters, digits"]),
        ("conditions.dense.base", "tyny", ["config: conditions.dense.base: found 'tyny'", "'tiny'"]),
        ("conditions.dense.topology", "wnda", ["config: conditions.dense.topology: found 'wnda'", "'wanda'"]),
        ("conditions.dense.mechanism", "lore", ["config: conditions.dense.mechanism: found 'lore'", "'lora'"]),
        ("study.streams", ["peple"], ["config: study.streams: found 'peple'", "'people'"]),
        ("study.conditions", ["dense", "sparse_lora", "dens"], ["config: study.conditions: found 'dens'", "'dense'"]),
        ("study.contrasts.0.minus", ["sparse"], ["study.contrasts: lora_and_sparsity: condition 'sparse' is not in"]),
        ("bases.tiny.source", "generate", ["config: bases.tiny: ", "'generate'", "'generated'"]),
        ("streams.people.source", "fact", ["config: streams.people: ", "'fact'", "'facts'"]),
        ("topologies.wanda.method", "wandas", ["config: topologies.wanda: ", "'wandas'", "'wanda'"]),
        ("mechanisms.lora.kind", "lorra", ["config: mechanisms.lora: ", "'lorra'", "'lora'"]),
        ("figures.densities", {"title": "x"}, ["config: figures.densities", "'densities'", "'density'"]),
        ("topologies.wanda.pattern", "half", ["topologies.wanda: pattern 'half': expected 'unstructured', "]),
        ("topologies.wanda.pattern", "4:2", ["topologies.wanda", "4:2"]),
        ("topologies.dense.pattern", "2:4", ["topologies.dense: method dense: found pattern '2:4'"]),
        ("bases.tiny.shape.intermediate_size", 42, ["topologies.wanda: ", "down_proj.weight", "42", "4"]),
        ("bases.tiny.shape.heads", 3, ["bases.tiny: shape.heads: found 3, expected a divisor of hidden_size = 16"]),
        ("streams.people.tasks", 1, ["streams.people: found 1 task, expected at least 2"]),
        ("study.tuning.tasks", 5, ["study.tuning.tasks: found 5, expected at most the 2 tasks"]),
        ("streams.people.people", 100_000, ["streams.people", "people"]),
        ("conditions.dense.writes", "masked", ["config: conditions.dense: missing key 'like'"]),
        ("conditions.dense.match", {"to": "dense", "on": "flops"}, ["conditions.dense.match.to: found 'dense'"]),
    ],
)  # fmt: skip
def test_config(path, value, words):
    message = complaint(changed(path, value))
    assert all(word in message for word in words), message


# streams on files


@pytest.fixture
def benchmark(tmp_path):
    """(config of a study on a benchmark of two tasks, function that rewrites one file of task one)."""

    def put(file, text, task="one"):
        path = tmp_path / "benchmark" / "SC" / task / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    items = [{"sentence": f"the cat number {n} sat", "label": "good" if n % 2 else "bad"} for n in range(20)]
    for task in ("one", "two"):
        put("labels.json", json.dumps(["good", "bad"]), task)
        for file in ("train.json", "test.json"):
            put(file, json.dumps(items, indent=1), task)
    settings = {"source": "cl_benchmark", "folder": str(tmp_path / "benchmark"), "tasks": ["one", "two"]}
    return changed("streams.people", settings), put


def test_a_good_benchmark_passes(benchmark):
    Study(checked(benchmark[0]))


def test_missing_benchmark_file(benchmark):
    path = benchmark[1]("train.json", "")
    path.unlink()
    assert f"streams.people: {path}: no such file" in complaint(benchmark[0])


def test_malformed_benchmark_file(benchmark):
    path = benchmark[1]("train.json", '[\n {"sentence": "x", "label": "good"},\n {"sentence" "x"}\n]')
    assert f"streams.people: {path}: line 3: not valid JSON" in complaint(benchmark[0])


def test_label_that_labels_json_lacks(benchmark):
    path = benchmark[1]("test.json", json.dumps([{"sentence": "x", "label": "goood"}]))
    message = complaint(benchmark[0])
    assert f"{path}: item 0: label 'goood' is not in labels.json (did you mean 'good'?)" in message


def test_empty_task(benchmark):
    path = benchmark[1]("test.json", "[]")
    assert f"{path}: the task is empty; expected at least one item" in complaint(benchmark[0])


def test_short_text(tmp_path):
    files = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text("A few words.")
        files.append(str(tmp_path / f"{name}.txt"))
    message = complaint(changed("streams.people", {"source": "text", "files": files}))
    assert f"streams.people: {files[0]}: 12 bytes found, too few for one sequence" in message


# checkpoints


def tensors(path, *names):
    """A safetensors file made by hand: one float32 tensor of 2 x 2 for each name."""
    header = {
        name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [16 * n, 16 * n + 16]}
        for n, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16 * len(names)))


@pytest.fixture
def checkpoint(tmp_path):
    """(config of a study on a checkpoint in a folder, the folder: config and tokenizer, no weights yet)."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    shape = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 8, **shape}))
    (folder / "tokenizer.json").write_text("{}")
    config = changed("bases.tiny", {"source": "local", "path": str(folder)})
    config["topologies"]["wanda"] = {"method": "magnitude", "pattern": "2:4"}
    return config, folder


def test_checkpoint_that_is_not_there(checkpoint):
    checkpoint[0]["bases"]["tiny"]["path"] += "s"
    assert "bases.tiny: " in complaint(checkpoint[0]) and "no such folder" in complaint(checkpoint[0])


def test_pickled_checkpoint(checkpoint):
    (checkpoint[1] / "pytorch_model.bin").write_bytes(b"pickle")
    assert "offers pickled weights (pytorch_model.bin)" in complaint(checkpoint[0])


def test_truncated_checkpoint(checkpoint):
    file = checkpoint[1] / "model.safetensors"
    tensors(file, "model.norm.weight", "lm_head.weight")
    file.write_bytes(file.read_bytes()[:-4])
    message = complaint(checkpoint[0])
    assert f"bases.tiny: {file}: truncated" in message and "lm_head.weight" in message


def test_checkpoint_without_a_tensor(checkpoint):
    tensors(checkpoint[1] / "one.safetensors", "model.norm.weight")
    placed = {"model.norm.weight": "one.safetensors", "lm_head.weight": "one.safetensors"}
    (checkpoint[1] / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    assert "no tensor 'lm_head.weight'" in complaint(checkpoint[0])


# the command line


def ends_with_one_line(folder, config, *words):
    """snakemake fails, makes nothing, and says `words` in a line of its own."""
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    before = {path for path in folder.rglob("*") if ".snakemake" not in path.parts}
    done = snakemake(ROOT, folder, "--configfile", folder / "study.yaml", "--replace-workflow-config")
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if words[0] in line]
    assert len(said) == 1 and all(word in said[0] for word in words), done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "rule " not in done.stdout + done.stderr
    assert {path for path in folder.rglob("*") if ".snakemake" not in path.parts} == before


def test_unknown_key_on_the_command_line(tmp_path):
    ends_with_one_line(tmp_path, changed("study.bloks", 6), "unknown key 'bloks'", "'blocks'")


def test_missing_file_on_the_command_line(tmp_path, benchmark):
    path = benchmark[1]("labels.json", "")
    path.unlink()
    ends_with_one_line(tmp_path, benchmark[0], "labels.json", "no such file")


def test_results_that_are_no_folder(tmp_path):
    (tmp_path / "results").write_text("")
    ends_with_one_line(tmp_path, yaml.safe_load(TINY.read_text()), str(tmp_path / "results"), "not a folder")


def test_results_that_cannot_be_written_to(checkout, tmp_path):
    obeying = ()  # rights bind everybody but root, unless root gives up its power over them
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root without setpriv: nothing is not writable here")
        obeying = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")
    results = tmp_path / "work" / "results"
    results.mkdir(parents=True)
    results.chmod(0o555)
    done = snakemake(checkout, results.parent, *tiny(), through=obeying)
    results.chmod(0o755)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"{results}: not writable" in said and "Traceback" not in said
    assert not list(results.iterdir())


def test_a_registration_edited_by_hand(checkout, tmp_path):
    path = tmp_path / "studies" / "tiny.preregistration.yaml"
    path.parent.mkdir()
    path.write_text("form: 1\nstudy: tiny\n")
    done = snakemake(checkout, tmp_path, *tiny("-n"))
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert "studies/tiny.preregistration.yaml: " in said and "restore the file as it was registered" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["study.yaml: no such file; expected a config file"]),
        (b"study: {name: caf\xe9}\n", ["study.yaml: not UTF-8 text", "iconv -f LATIN1"]),
        (b"study:\n  blocks: 2\n  blocks: 3\n", ["study.yaml: line 3: key 'blocks' occurs twice"]),
        (b"study: {seed: 010}\n", ["study.yaml: line 1: YAML reads 010 as the octal number 8"]),
    ],
)
def test_a_config_file_that_is_none(checkout, tmp_path, content, words):
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    done = snakemake(checkout, tmp_path, "-n", "--configfile", path)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "study.yaml" in line]
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert len(said) == 1 and all(word in said[0] for word in words), done.stderr


@pytest.mark.parametrize("place", ["results", "results/store", "results/tiny"])
def test_results_behind_a_link_to_nowhere(checkout, tmp_path, place):
    link = tmp_path / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "purged")
    done = snakemake(checkout, tmp_path, *tiny("-n"))
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert f"{link}: a link to {tmp_path / 'purged'}, which does not exist" in done.stderr


@pytest.mark.parametrize("name", ["my environment", "prof's", "a&b", "x$HOME"])
def test_an_environment_whose_path_a_shell_reads_otherwise(checkout, tmp_path, name):
    """Snakemake calls the Python of its own process by its path, without quotes."""
    (tmp_path / name).symlink_to(sys.prefix)
    line, environment = command(checkout, tmp_path, *tiny("-n"))
    line[0] = str(tmp_path / name / "bin" / "python")
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert f"{line[0]}: Snakemake starts jobs with this Python" in done.stderr


def test_a_job_of_its_own_reads_the_study_that_the_command_names(checkout, tmp_path):
    """The rule plan runs in a snakemake of its own, which is not given --replace-workflow-config."""
    (tmp_path / "more.yaml").write_text("study: {blocks: 3}\n")
    overlays = ["--configfile", TINY, tmp_path / "more.yaml", "--replace-workflow-config"]
    done = snakemake(checkout, tmp_path, "plan", *overlays)
    assert done.returncode == 0 and "n = 3 blocks" in done.stdout, done.stderr
    assert not (tmp_path / "results" / "default").exists()


def test_the_scheduler_does_not_wake_up_for_nothing(checkout, tmp_path):
    """By default it goes through all waiting jobs once a second, for every job that has been started."""
    count = (
        "import sys; from snakemake.scheduling.job_scheduler import JobScheduler as S; from snakemake.cli import main; "
        "old = S._schedule_reevalutation; "
        "S._schedule_reevalutation = lambda self, delay: (print('wakes up in', delay), old(self, delay)); main()"
    )
    target = "results/tiny/people/orders.csv"
    line, environment = command(checkout, tmp_path, target, *tiny())
    line[1:3] = ["-c", count]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / target).exists(), done.stderr
    assert "wakes up" not in done.stdout
