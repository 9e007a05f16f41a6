"""A real HTTP server that speaks the formats of arXiv, Semantic Scholar, OpenAlex, GitHub and the hub over a world.

Each service has a path prefix: `/arxiv`, `/semantic_scholar`, `/openalex`, `/github`, `/hub`. Faults strike the first
time that a question is asked, chosen by a hash of the question, so that a run is the same every time and a polite retry
succeeds; a dead service never answers. Every request is logged. Run as a program it serves until killed.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.literature_services import ArxivApi, GitHubApi, HubApi, OpenAlexApi, ScholarApi
from tests.fakes.literature_world import World, build_world, share


@dataclass(frozen=True)
class Faults:
    """How often things go wrong, as shares of distinct questions; which services never answer."""

    limited: float = 0.0
    broken: float = 0.0
    slow: float = 0.0
    truncated: float = 0.0
    malformed_rows: float = 0.0
    retry_after: str = "0"
    slow_seconds: float = 3.0
    dead: frozenset[str] = frozenset()


NO_FAULTS = Faults()
REALISTIC = Faults(limited=0.03, broken=0.02, slow=0.002, truncated=0.01, malformed_rows=0.01)


@dataclass(frozen=True)
class Logged:
    """One request as it came."""

    source: str
    question: str
    status: int
    headers: dict[str, str]
    at: float


@dataclass
class LiteratureServer:
    """A running server: where it is, what it was asked."""

    world: World
    faults: Faults
    port: int
    log: list[Logged] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answered(self) -> Counter[str]:
        """Return how often each question was answered in full."""
        return Counter(f"{r.source} {r.question}" for r in self.log if r.status < 400 or r.status == 404)


def application(server: LiteratureServer) -> Starlette:
    """Return the ASGI application of a server."""
    world, rows = server.world, server.faults.malformed_rows
    services = {
        "arxiv": ArxivApi(world, rows),
        "semantic_scholar": ScholarApi(world, rows),
        "openalex": OpenAlexApi(world, rows),
        "github": GitHubApi(world, rows),
        "hub": HubApi(world, rows),
    }

    def endpoint(source: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            body = await request.body()
            secrets = {"api_key"}
            asked = sorted((k, v) for k, v in request.query_params.multi_items() if k not in secrets)
            digest = hashlib.sha256(body).hexdigest()[:12] if body else ""
            question = f"{request.method} {request.url.path} {json.dumps(asked)} {digest}"
            response = await _faulty(server, source, question)
            if response is None:
                response = services[source].answer(request, body)
                if _first_strike(server, source, question, "truncated", server.faults.truncated):
                    response = Response(response.body[: len(response.body) // 2], media_type=response.media_type)
                    response.status_code = 200
            server.seen[f"{source} {question}"] += 1
            server.log.append(Logged(source, question, response.status_code, dict(request.headers), time.time()))
            return response

        return answer

    routes = [Route(f"/{s}/{{path:path}}", endpoint(s), methods=["GET", "POST"]) for s in services]
    return Starlette(routes=routes)


def _first_strike(server: LiteratureServer, source: str, question: str, kind: str, rate: float) -> bool:
    return server.seen[f"{source} {question}"] == 0 and share(kind, source, question) < rate


async def _faulty(server: LiteratureServer, source: str, question: str) -> Response | None:
    faults = server.faults
    if source in faults.dead:
        return JSONResponse({"message": "service unavailable"}, 503)
    if _first_strike(server, source, question, "limited", faults.limited):
        server.log.append(Logged(source, question, 429, {}, time.time()))
        body = {"message": "Too Many Requests. Please wait and try again.", "code": "429"}
        return JSONResponse(body, 429, headers={"Retry-After": faults.retry_after})
    if _first_strike(server, source, question, "broken", faults.broken):
        return Response("upstream error", 500)
    if _first_strike(server, source, question, "slow", faults.slow):
        server.seen[f"{source} {question}"] += 1
        await asyncio.sleep(faults.slow_seconds)
        return Response("too late", 504)
    return None


@contextlib.contextmanager
def serve(world: World, faults: Faults = NO_FAULTS) -> Iterator[LiteratureServer]:
    """Serve a world from a thread until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = LiteratureServer(world, faults, listener.getsockname()[1])
    config = uvicorn.Config(application(server), log_level="error", lifespan="off")
    runner = uvicorn.Server(config)
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not runner.started:
        time.sleep(0.01)
    try:
        yield server
    finally:
        runner.should_exit = True
        thread.join(timeout=10)
        listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", nargs="+", type=Path, required=True)
    parser.add_argument("--without-lists", action="store_true")
    parser.add_argument("--faults", action="store_true")
    options = parser.parse_args()
    full = not options.without_lists
    world = build_world(options.world, lists=full, surveys=full)
    with serve(world, REALISTIC if options.faults else NO_FAULTS) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
