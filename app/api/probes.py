"""Probes: is the process alive, can it serve, and how much it did. Open to everybody; they show counts only."""

import asyncio
import time

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.requests import Use
from core.errors import OperatorError
from core.types.base import Value

READY_WITHIN_S = 10.0
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

router = APIRouter(tags=["probes"])


class Health(Value):
    """The answer of a probe."""

    status: str


class Metrics:
    """Counts requests and times them, in a registry of its own. It is ASGI middleware."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["method", "route", "status"]
        self._requests = Counter("research_agent_requests", "Requests answered", labels, registry=registry)
        self._seconds = Histogram("research_agent_request_seconds", "Time to the end", ["route"], registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            # The route's template: an unknown path has none, so that strangers can't grow the registry.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - began)


def add_metrics(app: FastAPI) -> None:
    """Count all requests of the application."""
    app.state.registry = CollectorRegistry()
    app.add_middleware(Metrics, registry=app.state.registry)


@router.get("/livez")
async def livez() -> Health:
    """Say that the process is alive."""
    return Health(status="alive")


@router.get("/readyz")
async def readyz(use: Use) -> Health:
    """Say whether the database answers; 503 where it does not."""
    if not await asyncio.wait_for(use.db.answers(), READY_WITHIN_S):
        raise OperatorError("The database does not answer.", fix="Start PostgreSQL, or correct DATABASE_URL.")
    return Health(status="ready")


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
