"""Device, number format and determinism have one home."""

import re
from pathlib import Path

import pytest
import torch

from sparse_continual.device import DTYPE, device_of, prepare
from sparse_continual.errors import UserError
from sparse_continual.models.load import load_model
from sparse_continual.streams.lexicon import tokenizer

ROOT = Path(__file__).resolve().parents[1]


def test_prepare_makes_a_process_repeat_itself():
    draws = []
    for seed in (3, 3, 4):
        prepare(1, seed)
        draws.append(torch.rand(4).tolist())
    assert draws[0] == draws[1] != draws[2]
    assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1


def test_a_job_with_a_gpu_that_torch_cannot_use_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (device_of(0), device_of(1)) == ("cpu", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(0) == "cpu"
    with pytest.raises(UserError, match="gpu of this job is 1, but torch .* finds no CUDA device; install"):
        device_of(1)


def test_weights_have_the_one_number_format(llama, tmp_path):
    llama().to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert {str(p.dtype) for p in load_model(tmp_path).parameters()} == {f"torch.{DTYPE}"}


def test_no_other_file_chooses_a_device_or_a_switch():
    switches = re.compile(
        r"\"(cuda|mps)|torch\.cuda|set_num_threads|set_flush_denormal|use_deterministic|CUBLAS|set_default_dtype"
    )
    files = [*ROOT.glob("workflow/sparse_continual/**/*.py"), *ROOT.glob("scripts/**/*.py")]
    assert [path.name for path in files if switches.search(path.read_text())] == ["device.py"]
