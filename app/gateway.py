"""The gateway's routes, OpenAI's protocol: `/gateway/v1/chat/completions` and `/gateway/v1/models`.

Errors are in the form that clients of that protocol expect. A used-up budget is a 402: clients retry a 429.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from agents.experiment.sandboxes import Sandboxes, machine_slots
from agents.gateway import CallsExceededError, Gateway
from agents.provider import llm_settings
from agents.sandbox.openhands import OpenHandsDriver
from core.errors import BudgetExceededError, InvalidInputError, ResearchAgentError, SourceError, UnauthorizedError
from core.settings import Settings

PREFIX = "/gateway/v1"
MAX_BODY_BYTES = 16_000_000
STATUS: Mapping[type[ResearchAgentError], int] = {
    UnauthorizedError: 401,
    InvalidInputError: 400,
    BudgetExceededError: 402,
    CallsExceededError: 402,
    SourceError: 502,
}


def gateway_router(gateway: Gateway) -> APIRouter:
    """Return the routes that serve a gateway."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.post("/chat/completions")
    async def complete(request: Request) -> Response:
        try:
            answer = await gateway.complete(_token(request), await _body(request))
        except tuple(STATUS) as error:
            return _refusal(error)
        return StreamingResponse(answer.body, status_code=answer.status, headers=dict(answer.headers))

    @router.get("/models")
    async def models(request: Request) -> Response:
        try:
            gateway.identify(_token(request))
        except UnauthorizedError as error:
            return _refusal(error)
        return JSONResponse({"object": "list", "data": [{"id": gateway.model, "object": "model"}]})

    return router


def gateway_app(gateway: Gateway) -> FastAPI:
    """Return an application of these routes alone, for the executor to serve on loopback."""
    app = FastAPI(openapi_url=None)
    app.include_router(gateway_router(gateway))
    return app


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[str]:
    """Serve a gateway on a free port of loopback, in this process, and give its address (`host:port`)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(gateway_app(gateway), log_level="warning", lifespan="off"))
        # The process's own signal handlers stay.
        task = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def open_sandboxes(settings: Settings) -> AsyncIterator[Sandboxes | None]:
    """Serve the gateway of this process and give what reproductions share; None where no language model is set."""
    model = llm_settings(settings)
    if model.api_key is None:
        yield None
        return
    async with httpx.AsyncClient() as http:
        gateway = Gateway(model, http)
        async with serving(gateway) as address:
            slots = asyncio.Semaphore(machine_slots(settings))
            yield Sandboxes(settings, gateway, address, OpenHandsDriver(), slots)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> Any:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise InvalidInputError(f"The body has more than {MAX_BODY_BYTES} bytes.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("The body is not JSON.") from error


def _refusal(error: ResearchAgentError) -> Response:
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    return JSONResponse({"error": {"message": error.message, "type": error.code}}, status_code=status)
