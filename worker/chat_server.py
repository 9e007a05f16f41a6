"""A small OpenAI-compatible server of one local model: `python -m worker.chat_server --model DIR --port 0`.

Greedy, one request at a time, on loopback, without streaming and without a key: for local use, and as a deliberately
weak brain in tests. The first line of its output is its address. It does not batch and protects from no one.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from core.errors import InvalidInputError, ResearchAgentError

MAX_BODY_BYTES = 2_000_000


@dataclass(frozen=True)
class Completion:
    """What the model said; `cut_off` when it ran into the limit."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut_off: bool


class ChatModel:
    """A causal model with a chat template, decoded greedily. Prompts that don't fit lose their oldest tokens."""

    def __init__(self, directory: Path, *, max_new_tokens: int, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.name = directory.name
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(directory)
        self._model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self._model.eval()
        self._max_new_tokens = max_new_tokens
        self._room = self._model.config.max_position_embeddings - max_new_tokens
        self._lock = threading.Lock()

    def complete(self, messages: Sequence[Mapping[str, Any]], max_tokens: int | None = None) -> Completion:
        """Answer a conversation; raise InvalidInputError when it has no text messages."""
        wanted = min(max_tokens or self._max_new_tokens, self._max_new_tokens)
        ids = self._encode(messages)[-self._room :]
        with self._lock, torch.inference_mode():
            out = self._model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=wanted,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self._tokenizer.eos_token_id,
            )[0, len(ids) :].tolist()
        text = str(self._tokenizer.decode(out, skip_special_tokens=True))
        return Completion(text, len(ids), len(out), cut_off=out[-1:] != [self._tokenizer.eos_token_id])

    def _encode(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if not messages or not all(isinstance(m.get("content"), str) and m.get("role") for m in messages):
            raise InvalidInputError("messages: each needs a role and text content")
        turns = [{"role": m["role"], "content": m["content"]} for m in messages]
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


class ChatServer(ThreadingHTTPServer):
    """The server; `port` 0 takes any free one."""

    daemon_threads = True

    def __init__(self, model: ChatModel, port: int = 0) -> None:
        self.model = model
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def base_url(self) -> str:
        """Return the address that clients take as their base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": self.server.model.name, "object": "model"}]})
        else:
            self._send(404, _error("There is no such path."))

    def do_POST(self) -> None:
        if self.path != "/v1/chat/completions":
            self._send(404, _error("There is no such path."))
            return
        try:
            self._send(200, self._answer(self._body()))
        except ResearchAgentError as error:
            self._send(400, _error(error.message))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: prompts are not for logs."""

    def _body(self) -> Mapping[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY_BYTES:
            self.close_connection = True
            raise InvalidInputError(f"The body must have 1 to {MAX_BODY_BYTES} bytes.")
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError as error:
            raise InvalidInputError(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict) or body.get("stream"):
            raise InvalidInputError("The body must be an object, and streaming is not offered here.")
        return body

    def _answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        said = self.server.model.complete(body.get("messages") or (), int(limit) if limit else None)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": said.text},
            "finish_reason": "length" if said.cut_off else "stop",
        }
        return {
            "id": f"chatcmpl-{time.monotonic_ns()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.server.model.name,
            "choices": [choice],
            "usage": {
                "prompt_tokens": said.prompt_tokens,
                "completion_tokens": said.completion_tokens,
                "total_tokens": said.prompt_tokens + said.completion_tokens,
            },
        }

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a local model over the OpenAI protocol, on loopback.")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint directory")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = ChatModel(options.model, max_new_tokens=options.max_new_tokens, threads=options.threads)
    with ChatServer(model, options.port) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
