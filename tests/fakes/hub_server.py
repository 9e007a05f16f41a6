"""A model hub on loopback that speaks the hub's upload protocol: create, preupload, Git LFS batch, PUT, verify, commit.

Weights go through LFS (checked by SHA-256), small files in the commit; what was uploaded is in `files`.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast


class HubServer:
    """The server; a context manager. With `refuse` every answer is 401."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.verified: set[str] = set()
        self.refuse = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Return the endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    @property
    def hub(self) -> HubServer:
        return cast("HubServer", self.server.hub)  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.hub.refuse:
            self._answer(401, {"error": "no"})
            return
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        self._answer(*self._posted(self.path.strip("/").split("/"), body))

    def _posted(self, parts: list[str], body: bytes) -> tuple[int, object]:
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "preupload" in parts:
            files = json.loads(body)["files"]
            return 200, {"files": [{**f, "uploadMode": _mode(f["path"]), "shouldIgnore": False} for f in files]}
        if self.path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._action(o) for o in json.loads(body)["objects"]]}
        if parts[0] == "verify":
            return self._verify(json.loads(body))
        return self._commit("/".join(parts[2:4]), body) if "commit" in parts else (404, {"error": self.path})

    def do_PUT(self) -> None:
        self.hub.objects[self.path.rsplit("/", 1)[-1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(401 if self.hub.refuse else 200, {"id": "me/merge", "sha": "0" * 40, "siblings": []})

    do_HEAD = do_GET

    def _create(self, asked: dict[str, Any]) -> tuple[int, object]:
        name = f"{asked.get('organization') or 'me'}/{asked['name'].rpartition('/')[2]}"
        self.hub.private[name] = bool(asked.get("private", asked.get("visibility") == "private"))
        return 200, {"url": f"{self.hub.url}/{name}", "id": name, "name": name}

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        links = {"upload": f"objects/{wanted['oid']}", "verify": "verify"}
        return {**wanted, "actions": {k: {"href": f"{self.hub.url}/{v}", "header": {}} for k, v in links.items()}}

    def _verify(self, said: dict[str, Any]) -> tuple[int, object]:
        stored = self.hub.objects.get(said["oid"], b"")
        whole = hashlib.sha256(stored).hexdigest() == said["oid"] and len(stored) == said["size"]
        if whole:
            self.hub.verified.add(said["oid"])
        return 200 if whole else 422, {}

    def _commit(self, repository: str, body: bytes) -> tuple[int, object]:
        own = self.hub.files.setdefault(repository, {})
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                own[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.verified:
                    return 400, {"error": "not verified"}
                own[value["path"]] = self.hub.objects[value["oid"]]
        answer = {"commitUrl": f"{self.hub.url}/{repository}/commit/{1:040d}", "commitOid": "1" * 40, "success": True}
        return 200, answer

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"
