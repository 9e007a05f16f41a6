"""A real HTTP server that gives real git repositories as GitHub's API does, with a redirect first.

with GitHubArchives({"lab/scaled": {"README.md": "…"}}, tmp_path) as server:
    Settings(github_url=server.url)
"""

import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

Files = Mapping[str, str]


def commit(folder: Path, files: Files) -> str:
    """Make a git repository with one commit and return its id."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    who = ["-c", "user.name=lab", "-c", "user.email=lab@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "as published"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return shown.stdout.strip()


class GitHubArchives:
    """The server; a context manager. `commits` maps full names to the commits that it serves."""

    def __init__(self, repositories: Mapping[str, Files], folder: Path, archives_at: str | None = None) -> None:
        self._folder = folder
        self._archives_at = archives_at
        self.commits = {name: commit(folder / name, files) for name, files in repositories.items()}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def archives_at(self) -> str:
        """Where the archives are said to be."""
        return self._archives_at or self.url

    def archive(self, name: str) -> bytes:
        head = self.commits[name]
        prefix = f"{name.replace('/', '-')}-{head[:7]}/"
        command = ["git", "archive", "--format=tar.gz", f"--prefix={prefix}", head]
        return subprocess.run(command, cwd=self._folder / name, check=True, capture_output=True).stdout

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, fake: GitHubArchives) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        fake = self.server.fake
        fake.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        name = self.path.removeprefix("/repos/").removeprefix("/codeload/").removesuffix("/tarball")
        if name not in fake.commits:
            self._send(404, b'{"message": "Not Found"}')
        elif self.path.startswith("/repos/"):
            self._send(302, b"", {"Location": f"{fake.archives_at}/codeload/{name}"})
        else:
            self._send(200, fake.archive(name), {"Content-Type": "application/x-gzip"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
