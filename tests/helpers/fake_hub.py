"""A Hugging Face hub on loopback, as far as downloading models goes: what huggingface_hub asks of the real one.

    with FakeHub() as hub:
        commit = hub.add("owner/name", {"config.json": b"...", "model.safetensors": b"..."})
        subprocess.run([...], env=hub.environment(tmp_path / "cache"))

Weights (`LFS`) are large files: they are listed with size and SHA-256, and are served by another host
(`localhost` instead of 127.0.0.1), to which `resolve` redirects, as the hub does with its CDN. Everything else
is kept in git. `add` takes what is to go wrong; `requests` lists what was asked.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS = ("*.safetensors", "*.bin", "*.npz", "*.pt", "tokenizer.model")
PAGE = 3  # entries of a listing sent at once; the rest behind a Link header
CHUNK = 1 << 16


@dataclass
class Repository:
    """A model: its files by commit, and what goes wrong with it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    admitted: frozenset = frozenset()  # tokens
    cut: dict[str, list[int]] = field(default_factory=dict)  # file -> bytes after which each try is cut
    served: dict[str, bytes] = field(default_factory=dict)  # file -> what is sent in place of what is listed
    status: int | None = None  # answered to everything
    file_status: int | None = None  # answered to every file


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    token: str | None
    host: str


def commit_of(files: dict[str, bytes]) -> str:
    """40 hex digits named by the content."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def files_of(folder) -> dict[str, bytes]:
    """The files of a checkpoint folder, as `FakeHub.add` takes them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LFS)


class FakeHub:
    """Repositories by owner/name, served from `start` (or the beginning of a with block) on."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.valid_tokens = {"good-token", "stranger-token"}
        self._server = None
        self._connections = []

    def add(self, repo: str, files, branch: str = "main", commit: str | None = None, **faults) -> str:
        """Add a commit (a dict of bytes, or a checkpoint folder) and return its hash.

        faults, of the repository: gated=True, admitted={tokens}; cut={file: [bytes, ...]}: each request of
        the file is cut after so many bytes, until the list is used up; served={file: bytes}: sent in place of
        what is listed; status=500: answered to everything; file_status=403: answered to files alone.
        """
        files = dict(files) if isinstance(files, dict) else files_of(files)
        commit = commit or commit_of(files)
        found = self.repositories.setdefault(repo, Repository())
        found.commits[commit] = files
        found.branches[branch] = commit
        for name, value in faults.items():
            setattr(found, name, value)
        return commit

    def start(self) -> "FakeHub":
        class Handler(_Handler):
            hub = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop answering; connections that are kept open are closed too."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "FakeHub":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self.port}"

    def environment(self, home, token: str | None = None, offline: bool = False) -> dict[str, str]:
        """os.environ for a process that is to know this hub alone, with its cache in `home`/hub."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) and not key.lower().endswith("_proxy")
        }
        kept |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        kept |= {"HF_TOKEN": token} if token else {}
        return kept | ({"HF_HUB_OFFLINE": "1"} if offline else {})

    def patch(self, monkeypatch, home, token: str | None = None, offline: bool = False) -> None:
        """Make the huggingface_hub of this process know this hub alone, for one test."""
        import huggingface_hub
        from huggingface_hub import _tree_cache, constants

        for key in (
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
        ):
            monkeypatch.delenv(key, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        home = Path(home)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(_tree_cache, "_IN_MEMORY_TREE_CACHE", {})
        huggingface_hub.close_session()  # its client remembers the proxies of the first request


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def setup(self):
        super().setup()
        self.hub._connections.append(self.connection)

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        url = urlsplit(self.path)
        path = unquote(url.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        host = self.headers.get("Host", "").partition(":")[0]
        self.hub.requests.append(Request(self.command, path, self.headers.get("Range"), token, host))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/(.+))?", path):
            self._api(found[1], found[2], unquote(found[3] or "main"), token, parse_qs(url.query))
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], unquote(found[2]), found[3], token)
        elif found := re.fullmatch(r"/cdn/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path):
            repository = self.hub.repositories[found[1]]
            self._body(repository, found[3], repository.commits[found[2]][found[3]], {})
        else:
            self._refuse(404, "EntryNotFound", f"unknown path {path}")

    def _repository(self, repo: str, token: str | None):
        """The repository, or None after an answer that refuses it."""
        found = self.hub.repositories.get(repo)
        if token is not None and token not in self.hub.valid_tokens:
            self._refuse(401, None, "Invalid credentials in Authorization header")
        elif found is None:
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif found.status is not None:
            self._refuse(
                found.status, None, "Internal Error - We're working hard to fix this as soon as possible!"
            )
        else:
            return found
        return None

    def _commit(self, repository: Repository, revision: str) -> str | None:
        commit = repository.branches.get(revision, revision)
        if commit in repository.commits:
            return commit
        self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _api(self, repo: str, what: str | None, revision: str, token: str | None, query: dict) -> None:
        repository = self._repository(repo, token)
        commit = repository and self._commit(repository, revision)
        if not commit:
            return
        files = repository.commits[commit]
        if what != "tree":
            siblings = [{"rfilename": name} for name in sorted(files)]
            gated = "manual" if repository.gated else False
            self._json(
                {"_id": "0", "id": repo, "modelId": repo, "sha": commit, "gated": gated, "siblings": siblings}
            )
            return
        entries = [self._entry(name, data) for name, data in sorted(files.items())]
        start = int(query.get("cursor", ["0"])[0])
        links = {}
        if start + PAGE < len(entries):
            page = f"{self.hub.url}/api/models/{repo}/tree/{quote(revision, safe='')}"
            links = {"Link": f'<{page}?recursive=True&cursor={start + PAGE}>; rel="next"'}
        self._json(entries[start : start + PAGE], links)

    @staticmethod
    def _entry(name: str, data: bytes) -> dict:
        entry = {"type": "file", "path": name, "size": len(data), "oid": git_oid(data)}
        if is_lfs(name):
            digest = hashlib.sha256(data).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()
            entry["oid"] = git_oid(pointer)
            entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": len(pointer)}
        return entry

    def _resolve(self, repo: str, revision: str, name: str, token: str | None) -> None:
        repository = self._repository(repo, token)
        commit = repository and self._commit(repository, revision)
        if not commit:
            return
        if repository.gated and token not in repository.admitted:
            self._refuse(403 if token else 401, "GatedRepo", f"Access to model {repo} is restricted.")
            return
        data = repository.commits[commit].get(name)
        if repository.file_status is not None:
            self._refuse(repository.file_status, None, "Refused")
        elif data is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif is_lfs(name):
            headers = {
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Linked-Size": str(len(data)),
                "Location": f"{self.hub.cdn}/cdn/{repo}/{commit}/{quote(name)}",
            }
            self._send(302, b"", headers)
        else:
            self._body(repository, name, data, {"X-Repo-Commit": commit, "ETag": f'"{git_oid(data)}"'})

    def _body(self, repository: Repository, name: str, data: bytes, headers: dict) -> None:
        """Send a file, or the range asked for; shorter when it is to be cut."""
        data = repository.served.get(name, data)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        if asked and start >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        status = 200
        if asked:
            status, headers = 206, {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        cuts = repository.cut.get(name)
        stop = len(data)
        if self.command == "GET" and cuts:
            stop = min(stop, start + cuts.pop(0))
        self._send(status, data[start:stop], headers, len(data) - start)
        if stop < len(data):
            self.close_connection = True

    def _refuse(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _json(self, value, headers=None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            for start in range(0, len(data), CHUNK):
                self.wfile.write(data[start : start + CHUNK])
