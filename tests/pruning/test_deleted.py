"""Deleting one method's file leaves the rest whole: shown in a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from layers import method

ROOT = Path(__file__).resolve().parents[2]
FILES = ["test_orders", "test_controls", "test_check", "test_reference", "test_snip", "test_wanda"]


def test_without_the_file_that_most_tests_name(tmp_path):
    """SparseGPT: prior of MaskLLM, oracle of OBC, an example of controls and families."""
    method("sparsegpt")
    for folder in ("workflow", "tests"):
        skip = shutil.ignore_patterns("__pycache__", "test_deleted.py")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "workflow/sparse_continual/pruning/methods/sparsegpt.py").unlink()
    files = [f"tests/pruning/{name}.py" for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "workflow")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" in done.stdout
