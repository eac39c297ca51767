"""A warm process for local jobs: it has imported the heavy libraries, and every job runs in a fork of it.

Importing torch and transformers takes a job longer than most of its work. The workflow starts this file as a program of
its own: it imports libraries, never this package, and listens on a socket. A script asks it for a fork (`handed_over`),
which runs the same script file with the script's environment and standard streams, while the script waits. Without a
warm process (cluster, GPU, no fork, more than one thread, `warm: false`) a script runs in its own process. Results are
the same. The warm process ends with Snakemake, and a fork ends with its script.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

SOCKET = "SPARSE_CONTINUAL_WARM"  # environment variable: path of the socket
THREADS = (
    "OMP_NUM_THREADS"  # Snakemake sets it, and the variables of other libraries, to the threads of a rule
)
LIBRARIES = (
    "numpy pandas scipy.stats matplotlib.figure jinja2 safetensors.torch snakemake.script tokenizers torch"
    " torch._dynamo transformers transformers.models.auto.modeling_auto transformers.models.llama.modeling_llama"
    " transformers.generation.utils"
).split()
JOBS = 8  # a warm process costs as much as about two jobs save
LENGTH = 8  # bytes of the length before a request


def start() -> None:
    """Start a warm process for the local jobs of this Snakemake process. Its first jobs do not wait for it."""
    if not hasattr(os, "fork") or sys.platform == "darwin":  # macOS: its libraries do not survive a fork
        return
    path = os.path.join(
        tempfile.mkdtemp(prefix="sparse-continual-"), "socket"
    )  # a folder that only its user may read
    os.environ[SOCKET] = path
    variables = "OMP GOTO OPENBLAS MKL NUMEXPR".split()
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in variables}
    subprocess.Popen(
        [sys.executable, __file__, path, str(os.getpid())],
        env=environment | {"VECLIB_MAXIMUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def handed_over() -> int | None:
    """Run the script of this process in a fork of the warm process, and return its exit status.

    None if there is no warm process, or this is the fork: the script then runs here.
    """
    path = os.environ.get(SOCKET)
    if not path or os.environ.get(THREADS) != "1":
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        return None
    request = {"file": sys.argv[0], "folder": os.getcwd(), "environment": dict(os.environ)}
    data = json.dumps(request).encode()
    with connection:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        socket.send_fds(connection, [len(data).to_bytes(LENGTH, "little")], [0, 1, 2])
        connection.sendall(data)
        status = connection.recv(1)
    return status[0] if status else 1  # nothing: the fork was killed


def serve(path: str, parent: int) -> None:
    """Import LIBRARIES, then fork for every connection until the process `parent` ends."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks leave no zombies
    partial = f"{path}.part"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(partial)
        listener.listen(64)
        os.rename(partial, path)  # a script that finds the path can connect
        try:
            while os.getppid() == parent:
                if not select.select([listener], [], [], 0.5)[0]:
                    continue
                connection, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    _run(connection)
                connection.close()
        finally:
            shutil.rmtree(Path(path).parent, ignore_errors=True)


def _run(connection) -> None:
    """Run the requested script in this fork, send its exit status, and end."""
    status = 1
    try:
        head, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
        data = b""
        while len(data) < int.from_bytes(head, "little"):
            data += connection.recv(1 << 16)
        request = json.loads(data)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update({key: value for key, value in request["environment"].items() if key != SOCKET})
        os.chdir(request["folder"])
        sys.argv = [request["file"]]
        sys.path.insert(0, str(Path(request["file"]).parent))
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        runpy.run_path(request["file"], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        connection.send(bytes([status & 255]))
        os._exit(status)


def _end_with(connection) -> None:
    """End this fork when its script is gone."""
    if not connection.recv(1):
        os._exit(1)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file: its modules would hide packages of the same names
    serve(sys.argv[1], int(sys.argv[2]))
