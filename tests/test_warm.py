"""The warm process: forks behave as processes of their own, and nothing outlives Snakemake or a script."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sparse_continual import warm

CLIENT = """
import sys
sys.path.insert(0, {package!r})
from sparse_continual import warm
status = warm.handed_over()
if status is not None:
    sys.exit(status)
"""
PARENT = """
import os, sys, time
sys.path.insert(0, {package!r})
from sparse_continual import warm
warm.start()
print(os.environ[warm.SOCKET], flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """(working directory, socket, process) of a stand-in for Snakemake with a warm process."""
    folder = tmp_path_factory.mktemp("warm")
    script = PARENT.format(package=str(warm.Path(warm.__file__).parents[1]))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=folder, stdout=subprocess.PIPE, text=True)
    path = process.stdout.readline().strip()
    until(lambda: (folder / path).exists())
    yield folder, path, process
    process.kill()
    process.wait()


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def script(parent, body, **environment):
    """The started process of a script with this body, which hands itself over first."""
    folder, path, _ = parent
    file = folder / f"{time.monotonic_ns()}.py"
    file.write_text(CLIENT.format(package=str(warm.Path(warm.__file__).parents[1])) + body)
    variables = {**os.environ, warm.SOCKET: path, warm.THREADS: "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, file], cwd=folder, env=variables, text=True, **pipes)


def finished(parent, body, **environment):
    process = script(parent, body, **environment)
    output, errors = process.communicate(timeout=60)
    return process.pid, process.returncode, output, errors


FACTS = """
import json, os
loaded = sorted(set(sys.modules) & {"torch", "transformers"})
own = sorted(name for name in sys.modules if name.startswith("sparse_continual."))
print(json.dumps([os.getpid(), loaded, own, os.getcwd(), os.environ["COLOUR"], sys.argv[0] == __file__]))
"""


def test_a_fork_has_libraries_and_the_scripts_surroundings_and_none_of_this_package(parent):
    pid, status, output, errors = finished(parent, FACTS, COLOUR="red")
    fork, loaded, own, folder, colour, same_file = json.loads(output)
    assert (status, errors) == (0, "") and fork != pid
    assert loaded == ["torch", "transformers"]
    assert own == ["sparse_continual.warm"]  # which the script itself has imported
    assert (folder, colour, same_file) == (str(parent[0]), "red", True)


@pytest.mark.parametrize("environment", [{warm.THREADS: "2"}, {warm.SOCKET: ".snakemake/none.socket"}])
def test_without_a_warm_process_a_script_runs_by_itself(parent, environment):
    pid, status, output, _ = finished(parent, FACTS, COLOUR="red", **environment)
    assert status == 0 and json.loads(output)[:2] == [pid, []]


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("sys.exit('one line')", 1, "one line\n"),
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("raise ValueError('a bug')", 1, "ValueError: a bug\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 1, ""),
    ],
)
def test_exit_status_and_errors_are_those_of_the_script(parent, body, status, line):
    _, returned, _, errors = finished(parent, body)
    assert returned == status and errors.endswith(line) and (line or not errors)


def test_a_fork_ends_with_its_script(parent):
    body = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"
    process = script(parent, body)
    fork = int(process.stdout.readline())
    assert alive(fork)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not alive(fork), 20)


def test_it_ends_with_snakemake(parent):
    """Last in this file: the warm process is gone afterwards."""
    folder, path, process = parent
    (server,) = (
        int(entry.name)
        for entry in warm.Path("/proc").iterdir()
        if entry.name.isdigit() and path.encode() in command_of(entry)
    )
    process.kill()
    process.wait()
    until(lambda: not alive(server) and not (folder / path).exists(), 20)


def alive(pid):
    """Whether a process runs: a zombie does not."""
    try:
        state = warm.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def command_of(entry):
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""
