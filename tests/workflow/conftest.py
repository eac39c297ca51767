import os
import signal
import subprocess

import pytest
from driver import checked_out, command, copied, tiny  # noqa: E402


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A checkout that stays as it is while tests run."""
    return checked_out(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session", autouse=True)
def running(request, checkout, tmp_path_factory):
    """(process, working directory) of the tiny study, on its way while tests run that need it not; else None."""
    if not any("finished" in item.fixturenames for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("finished")
    line, environment = command(checkout, folder, *tiny())
    with open(folder / "said.txt", "w") as said:
        process = subprocess.Popen(line, env=environment, stdout=said, stderr=said, start_new_session=True)
    yield process, folder
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="session")
def finished(running):
    """The working directory of the tiny study, run from nothing to its report."""
    process, folder = running
    assert process.wait() == 0, (folder / "said.txt").read_text()
    return folder


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished study to change."""
    return copied(finished, tmp_path / "again")
