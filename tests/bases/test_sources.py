"""The local and hub sources: what they check from settings alone, and what they hand on."""

import subprocess
import sys

import jsonschema
import pytest

from sparse_continual.bases.sources import hub, local
from sparse_continual.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_local_refuses_before_loading(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        local.check({"path": str(tmp_path / "absent")})


def test_checks_import_nothing_heavy():
    code = (
        "import sys\n"
        "from sparse_continual.bases.sources import hub, local\n"
        "hub.check({'repo': 'owner/name', 'revision': '0' * 40})\n"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub', 'numpy') if m in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("module", [local, hub])
def test_schemas(module):
    jsonschema.Draft202012Validator.check_schema(module.SCHEMA)
    assert module.SCHEMA["additionalProperties"] is False
    assert all(entry["description"] for entry in module.SCHEMA["properties"].values())


def test_hub_takes_commits():
    hub.check({"repo": "some-owner/Some_Model-1.5b", "revision": COMMIT})


@pytest.mark.parametrize(
    "revision", ["main", "v1.0", "", "../x", COMMIT[:7], COMMIT[:-1] + "g", COMMIT + "\n"]
)
def test_hub_refuses_revisions_that_can_move(revision):
    with pytest.raises(UserError, match="expected the 40 hex digits of a commit"):
        hub.check({"repo": "owner/name", "revision": revision})


@pytest.mark.parametrize("repo", ["name", "a/b/c", "https://x.y/a", "/abs", "../up", "a/b..c", "", "a/"])
def test_hub_refuses_odd_repositories(repo):
    with pytest.raises(UserError, match="owner/name"):
        hub.check({"repo": repo, "revision": COMMIT})


def test_hub_without_a_network_says_so_in_one_line(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        hub.obtain({"repo": "owner/name", "revision": COMMIT}, 0, tmp_path, [])
    assert f"owner/name at {COMMIT}: not in the Hugging Face cache" in str(caught.value)
    assert "network" in str(caught.value)
