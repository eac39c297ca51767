import os
import shutil
import subprocess
import time

import pytest
from driver import ROOT, checked_out, command, copied, tiny
from stand_ins import World, stand_ins


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A checkout that stays as it is while tests run."""
    return checked_out(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session", autouse=True)
def running(request, checkout, tmp_path_factory):
    """Folder of the tiny study, which runs while tests run that do not need it; None where no test does.

    Workers of one session share it: the first one that comes here starts it.
    """
    if not any("finished" in item.fixturenames for item in request.session.items):
        yield None
        return
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "finished"
    try:
        folder.mkdir()
    except FileExistsError:
        yield folder
        return
    line, environment = command(checkout, folder, *tiny())
    ending = [
        "sh",
        "-c",
        '"$@" > printed.txt 2>&1; echo $? > status.part; mv status.part status',
        "sh",
        *line,
    ]
    process = subprocess.Popen(ending, cwd=folder, env=environment, start_new_session=True)
    yield folder
    process.wait()  # another worker may need it still


@pytest.fixture(scope="session")
def finished(running):
    """The working directory of the tiny study, run from nothing to its report."""
    while not (running / "status").exists():
        time.sleep(0.2)
    assert (running / "status").read_text() == "0\n", (running / "printed.txt").read_text()
    return running


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished study to change."""
    return copied(finished, tmp_path / "again")


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """(hub, {registry name: commit}, {name: model}): stand-ins of what the shipped studies name."""
    hub, commits, models = stand_ins(tmp_path_factory.mktemp("stand-ins"))
    with hub:
        yield hub, commits, models


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """A checkout with the shipped studies."""
    target = checked_out(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(ROOT / "studies", target / "studies")
    return target


@pytest.fixture
def world(served, shipped, tmp_path):
    """An empty working directory of a reader of the hub."""
    return World(served, shipped, tmp_path / "work")
