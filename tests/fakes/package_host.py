"""A package host on loopback, in the clear and by TLS: a simple index with one tiny wheel, files of any size, git."""

import base64
import hashlib
import io
import os
import socket
import ssl
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "packages.test"
WHEEL = "tinypackage-1.0-py3-none-any.whl"
SAID = "installed through the proxy"


def wheel() -> bytes:
    """Return a wheel with one module."""
    files = {
        "tinypackage.py": f"SAID = {SAID!r}\n",
        "tinypackage-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n",
        "tinypackage-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(text)}")
    files["tinypackage-1.0.dist-info/RECORD"] = "\n".join([*rows, "tinypackage-1.0.dist-info/RECORD,,"]) + "\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host: PackageHost = self.server.host
        host.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if self.path.startswith("/git/"):
            self._git(b"")
        elif self.path == "/simple/tinypackage/":
            self._answer(f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
        elif self.path == f"/files/{WHEEL}":
            self._answer(wheel())
        elif self.path.startswith("/bytes/"):
            self._answer(b"x" * int(self.path.rpartition("/")[2]))
        else:
            self._answer(b"hello from " + NAME.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path.startswith("/git/"):
            self._git(body)
        else:
            self._answer(b"taken")

    def _git(self, body: bytes) -> None:
        """Answer by git's own program for servers (CGI)."""
        path, _, query = self.path.removeprefix("/git").partition("?")
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server.host.repositories), "PATH_INFO": path,
            "GIT_HTTP_EXPORT_ALL": "1", "QUERY_STRING": query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }  # fmt: skip
        said = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
        head, _, answer = said.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._answer(answer, headers["Content-Type"], int(headers.get("Status", "200").split()[0]))

    def _answer(self, body: bytes, kind: str = "application/octet-stream", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: "PackageHost"

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""


class PackageHost:
    """Both servers. `certificate` signs for NAME; `asked` has the path and the headers of each request.

    Git repositories below `repositories` are served at `/git/`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.certificate, key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", key, "-out", self.certificate, "-days", "2", "-subj", f"/CN={NAME}",
             "-addext", f"subjectAltName=DNS:{NAME}"],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.repositories = folder / "repositories"
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._servers = [self._started(None), self._started(context)]
        self.http_port, self.https_port = (server.server_port for server in self._servers)

    def _started(self, context: ssl.SSLContext | None) -> _Server:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.host = self
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def __enter__(self) -> "PackageHost":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
