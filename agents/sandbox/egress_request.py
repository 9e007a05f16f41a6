"""One request to a sandbox's proxy: its head, read by h11 and cut down to what a host may get of it."""

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11

from agents.sandbox.network import EgressVerdict
from core.errors import RunError
from core.types.host_rule import MAX_HOST

CHUNK = 65536
MAX_METHOD = 20
HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host"})
PLAIN_METHODS = frozenset({"GET", "HEAD"})


class EgressRefusedError(RunError):
    """A sandbox asked for what it may not reach."""

    code = "egress_refused"

    def __init__(self, message: str, answer: int = 403, verdict: EgressVerdict = EgressVerdict.REFUSED) -> None:
        super().__init__(message)
        self.answer = answer
        self.verdict = verdict


@dataclass
class EgressRequest:
    """One request, and what has passed for it. `rest` is what the client had sent after its head."""

    method: str = "?"
    host: str = ""
    port: int = 0
    head: bytes = b""
    rest: bytes = b""
    answered: bool = False
    verdict: EgressVerdict = EgressVerdict.CUT
    reason: str = "the sandbox ended"
    passed: dict[str, int] = field(default_factory=lambda: {"bytes_in": 0, "bytes_out": 0})


async def read_request(request: EgressRequest, reader: asyncio.StreamReader) -> None:
    """Read the head of a request into it; raise an error of h11, ValueError or EOFError where it is none."""
    parser = h11.Connection(h11.SERVER)
    while (event := parser.next_event()) is h11.NEED_DATA:
        data = await reader.read(CHUNK)
        if not data:
            raise EOFError
        parser.receive_data(data)
    if not isinstance(event, h11.Request):
        raise ValueError(event)
    method, target = event.method.decode("ascii"), event.target.decode("ascii")
    connect = method == "CONNECT"
    parts = urlsplit(f"//{target}" if connect else target)
    if (not connect and parts.scheme != "http") or "@" in parts.netloc or len(method) > MAX_METHOD:
        raise ValueError(target)
    host, port = (parts.hostname or "").rstrip("."), parts.port or (0 if connect else 80)
    if not host or len(host) > MAX_HOST or (connect and parts.netloc != target):
        raise ValueError(target)
    request.method, request.host, request.port = method, host, port
    if connect:
        parser.next_event()
        request.rest = bytes(parser.trailing_data[0])
        return
    if request.method not in PLAIN_METHODS:
        raise EgressRefusedError("plain http is for GET and HEAD; ask by https", 405)
    request.head = _head(event, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", parts.netloc)


def _head(event: h11.Request, path: str, netloc: str) -> bytes:
    """Return the request as the host gets it: no header meant for a proxy, and the connection ends with the answer."""
    named = {n.strip() for name, value in event.headers if name == b"connection" for n in value.lower().split(b",")}
    dropped = HOP_BY_HOP | named
    kept = [
        (name, value)
        for name, value in event.headers
        if name not in dropped and not name.startswith(b"proxy-") and name != b"content-length"
    ]
    headers = [(b"host", netloc.encode()), *kept, (b"connection", b"close")]
    return h11.Connection(h11.CLIENT).send(h11.Request(method=event.method, target=path, headers=headers)) or b""
