"""Whether this tree makes the same bytes as another commit: run it whenever code moves.

Both trees run the tiny study of the tests, 14 pruning settings on one small model, and the published comparisons of
studies/reanalysis.yaml. Tables, scores, weights, masks and figures must be equal byte for byte. Not compared: names of
folders in the store, index.csv, manifests, times (run.json, costs.csv), logs and the report.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = re.compile(
    r"(manifest|provenance|run|scores)\.json$|(index|costs)\.csv$|/logs/|/report/|/manifests/|/\."
)
PRUNING = """
import hashlib, sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
try:
    from sparse_continual import prune
except ImportError:
    from sparse_continual.topologies import prune

SETTINGS = [
    ("magnitude", "2:4", None, {}),
    ("magnitude", "unstructured", 0.6, {"allocation": "erk"}),
    ("random", "unstructured", 0.5, {}),
    ("wanda", "2:4", None, {}),
    ("wanda", "unstructured", 0.5, {"allocation": "owl"}),
    ("sparsegpt", "2:4", None, {}),
    ("sparsegpt", "unstructured", 0.5, {}),
    ("obc", "unstructured", 0.5, {}),
    ("wandapp", "2:4", None, {"samples": 4, "rounds": 1}),
    ("snip", "unstructured", 0.7, {}),
    ("shuffled", "2:4", None, {"of": "wanda"}),
    ("gmp", "unstructured", 0.5, {"steps": 8, "batch_size": 4}),
    ("movement", "unstructured", 0.5, {"steps": 8, "batch_size": 4}),
    ("llm_pruner", "structured", 0.25, {"export": "masked", "first": 0, "last": 0}),
]
config = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.2,
)
rows = torch.randint(4, 64, (24, 20), generator=torch.Generator().manual_seed(1))
for method, pattern, sparsity, options in SETTINGS:
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    topology = prune(model, method, pattern, sparsity, rows, 0, **options)
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
    print(method, pattern, sparsity, sorted(options), topology.sha256, weights)
"""


def made_by(tree: Path, folder: Path) -> dict[str, list[str]]:
    """Name of what was made -> its digests, sorted: a name of the store is without the digest of its settings."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "workflow"), "OMP_NUM_THREADS": "1"}

    def run(*line):
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(
                f"{tree}: {' '.join(map(str, line))[:200]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return done.stdout

    tiny = tree / "tests" / "workflow" / "tiny.yaml"
    run(
        *(sys.executable, "-m", "snakemake", "--snakefile", tree / "Snakefile", "--directory", folder),
        *("--cores", "1", "--configfile", tiny, "--replace-workflow-config"),
    )
    digests = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not SKIPPED.search(name):
            name = re.sub(r"-[0-9a-f]{8}/", "/", name)
            digests.setdefault(name, []).append(hashlib.sha256(path.read_bytes()).hexdigest())
    for line in run(sys.executable, "-c", PRUNING).splitlines():
        digests.setdefault(f"pruning {line.split()[0]}", []).append(line)
    studies = tree / "studies" / "reanalysis.yaml"
    digests["reanalysis"] = [run(sys.executable, "-m", "sparse_continual.cli", "reanalyse", studies)]
    return {name: sorted(values) for name, values in digests.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("commit", help="the commit to compare with, for example HEAD~1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        other = Path(temporary) / "other"
        subprocess.run(["git", "worktree", "add", "--detach", other, options.commit], cwd=ROOT, check=True)
        try:
            trees = {"other": other, "this": ROOT}
            for name in trees:
                (Path(temporary) / f"made-{name}").mkdir()
            script = (
                "import json, sys; sys.path.insert(0, sys.argv[1]); import same; from pathlib import Path; "
            )
            script += "print(json.dumps(same.made_by(Path(sys.argv[2]), Path(sys.argv[3]))))"
            running = {
                name: subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        script,
                        Path(__file__).parent,
                        tree,
                        Path(temporary) / f"made-{name}",
                    ],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for name, tree in trees.items()
            }
            ended = {name: process.communicate()[0] for name, process in running.items()}
            if any(process.returncode for process in running.values()):
                return 2
            made = {name: json.loads(text) for name, text in ended.items()}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", other], cwd=ROOT, check=True)
    names = sorted(made["this"].keys() | made["other"].keys())
    different = [name for name in names if made["this"].get(name) != made["other"].get(name)]
    for name in different:
        state = "differs" if name in made["this"] and name in made["other"] else "is in one tree alone"
        print(f"{name}: {state}")
    print(f"{len(names) - len(different)} of {len(names)} equal")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
