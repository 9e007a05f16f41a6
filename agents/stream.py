"""What a chat completion said, gathered from its bytes as they pass by: one JSON body, or server-sent events.

Only a bounded part is kept. What can't be read is left out: the bytes themselves have been passed on already.
"""

import json
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 16_000_000


@dataclass
class Collected:
    """Feed it bytes, finish it, and read."""

    streamed: bool
    content: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tokens: tuple[int, int] | None = None
    _buffer: bytearray = field(default_factory=bytearray, repr=False)
    _bytes: int = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            return
        self._buffer += data
        while self.streamed and (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).strip()
            del self._buffer[: end + 1]
            if line.startswith(b"data:"):
                self._take(line[5:].strip(), "delta")

    def finish(self) -> None:
        """Take the end of the bytes."""
        if not self.streamed and self._buffer:
            self._take(bytes(self._buffer), "message")
        self._buffer.clear()

    def _take(self, text: bytes, part: str) -> None:
        try:
            body = json.loads(text)
            self._read(body, part)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return  # "[DONE]", or not a completion

    def _read(self, body: dict[str, Any], part: str) -> None:
        usage = body.get("usage")
        if usage:
            self.tokens = (int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
        for choice in (body.get("choices") or ())[:1]:
            said = choice.get(part) or {}
            self.content += said.get("content") or ""
            self.reasoning += said.get("reasoning_content") or ""
            for call in said.get("tool_calls") or ():
                self._add_call(call)

    def _add_call(self, call: dict[str, Any]) -> None:
        index = call.get("index", len(self.tool_calls))
        function = call.get("function") or {}
        if index >= len(self.tool_calls):
            self.tool_calls.append({"id": call.get("id"), "name": "", "arguments": ""})
            index = len(self.tool_calls) - 1
        known = self.tool_calls[index]
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""
