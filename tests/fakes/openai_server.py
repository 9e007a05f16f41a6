"""A real local server that speaks the OpenAI chat-completions protocol, with scripted replies and scripted failures.

    with FakeOpenAI([text("hello"), rate_limited(0.1), answer({"kept": True})]) as server:
        client(base_url=server.base_url, api_key=server.api_key)
    server.requests[0].messages

A script is a list, one reply a request, or a function from request to reply. After its end every request is refused
with a 400 that says so (a 5xx would be retried). Streaming requests get the same replies as server-sent events.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class ChatRequest:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        return self.body.get("messages", ())

    @property
    def last(self) -> str:
        """The last message's text."""
        return text_of(self.messages[-1]) if self.messages else ""

    @property
    def transcript(self) -> str:
        """All messages' text."""
        return "\n".join(text_of(m) for m in self.messages)

    @property
    def decision(self) -> str | None:
        """The decision that a ModelBrain names in its system prompt."""
        lines = (line for line in self.transcript.splitlines() if line.startswith("Decision: "))
        return next((line.removeprefix("Decision: ") for line in lines), None)


def text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, Mapping))


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    content: str | None = None
    reasoning: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str | None = None
    prompt_tokens: int = 100
    completion_tokens: int = 20
    usage: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    raw: bytes | None = None
    delay_s: float = 0.0

    def after(self, seconds: float) -> "Reply":
        """The same reply, later."""
        return replace(self, delay_s=seconds)


def text(content: str, **rest: Any) -> Reply:
    return Reply(content=content, **rest)


def answer(value: Any, *, fenced: bool = False, **rest: Any) -> Reply:
    """A JSON answer, bare or in a fence with prose around it."""
    body = json.dumps(value)
    return text(f"Here it is:\n```json\n{body}\n```\nAnything else?" if fenced else body, **rest)


def truncated(content: str) -> Reply:
    """Content that ran into the token limit."""
    return Reply(content=content, finish_reason="length")


def rate_limited(retry_after_s: float | None = None) -> Reply:
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return Reply(status=429, headers=headers, error="Rate limit reached")


def failure(status: int = 500, error: str = "The server had an error") -> Reply:
    return Reply(status=status, error=error)


def hang(seconds: float) -> Reply:
    """An answer that comes too late."""
    return Reply(content="late", delay_s=seconds)


def not_json() -> Reply:
    """A proxy's HTML page with status 200."""
    return Reply(raw=b"<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"})


def tool_call(name: str, arguments: Mapping[str, Any], content: str | None = None, **rest: Any) -> Reply:
    call = {"name": name, "arguments": json.dumps(arguments)}
    return Reply(content=content, tool_calls=(call,), **rest)


Script = Sequence[Reply] | Callable[[ChatRequest], Reply]


def by_decision(replies: Mapping[str, Callable[[ChatRequest], Reply] | Reply], default: Reply) -> Script:
    """A script that answers by the first key that the decision's name starts with, in any order."""

    def reply(request: ChatRequest) -> Reply:
        name = request.decision or ""
        found = next((value for key, value in replies.items() if name.startswith(key)), default)
        return found(request) if callable(found) else found

    return reply


class FakeOpenAI:
    """The server; a context manager. `base_url` ends in /v1; `api_key` is the only one it accepts."""

    def __init__(self, script: Script, *, api_key: str = "sk-scripted-0123456789") -> None:
        self.api_key = api_key
        self.requests: list[ChatRequest] = []
        self._script = script
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, request: ChatRequest) -> Reply:
        """The reply to a request; its delay has passed."""
        with self._lock:
            index = len(self.requests)
            self.requests.append(request)
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            return failure(401, f"Incorrect API key provided: {given}")
        if callable(self._script):
            chosen = self._script(request)
        elif index < len(self._script):
            chosen = self._script[index]
        else:
            chosen = failure(400, f"The script of {len(self._script)} replies is over.")
        self._stopping.wait(chosen.delay_s)
        return chosen


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, fake: FakeOpenAI) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/models"):
            self._json(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
        else:
            self._json(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {k.lower(): v for k, v in self.headers.items()}
        request = ChatRequest(self.path, headers, body)
        reply = self.server.fake.reply(request)
        try:
            self._send(request, reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client did not wait

    def _send(self, request: ChatRequest, reply: Reply) -> None:
        if reply.raw is not None:
            self._bytes(reply.status, reply.raw, reply.headers)
        elif reply.status != 200:
            error = {"message": reply.error, "type": "scripted", "code": reply.status}
            self._json(reply.status, {"error": error}, reply.headers)
        elif request.body.get("stream"):
            self._stream(request, reply)
        else:
            self._json(200, completion(request, reply), reply.headers)

    def _json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._bytes(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _bytes(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, request: ChatRequest, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks(request, reply):
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


def completion(request: ChatRequest, reply: Reply) -> dict[str, Any]:
    """The body of a reply that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = _calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    body = {**_head(request, "chat.completion"), "choices": [choice]}
    return {**body, "usage": _usage(reply)} if reply.usage else body


def chunks(request: ChatRequest, reply: Reply) -> Iterator[dict[str, Any]]:
    """The events of a streamed reply."""
    head = _head(request, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(reply.reasoning):
        yield chunk({"reasoning_content": piece})
    for piece in _pieces(reply.content):
        yield chunk({"content": piece})
    for index, call in enumerate(_calls(reply)):
        yield chunk({"tool_calls": [{**call, "index": index}]})
    yield chunk({}, _finish(reply))
    if reply.usage and (request.body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _usage(reply)}


def _head(request: ChatRequest, kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": kind,
        "created": int(time.time()),
        "model": request.body.get("model", "scripted"),
    }


def _pieces(content: str | None, size: int = 16) -> Iterator[str]:
    for start in range(0, len(content or ""), size):
        yield (content or "")[start : start + size]


def _calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{i}_{time.monotonic_ns()}", "type": "function", "function": dict(call)}
        for i, call in enumerate(reply.tool_calls)
    ]


def _finish(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(reply: Reply) -> dict[str, int]:
    total = reply.prompt_tokens + reply.completion_tokens
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": total,
    }
