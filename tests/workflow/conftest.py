import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for driver

from driver import copied, snakemake, tiny  # noqa: E402


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The working directory of the tiny study, run from nothing to its report."""
    folder = tmp_path_factory.mktemp("finished")
    done = snakemake(folder, *tiny())
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished study to change."""
    return copied(finished, tmp_path / "again")
