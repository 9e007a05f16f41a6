"""The web application: routers, guards and services put together. It never runs an agent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.api import events, files, probes, records, runs
from app.api.guard import BodyLimit, BrowserHeaders, TokenGuard
from app.api.problems import ProblemDocument, add_problem_handlers
from app.service import open_services
from app.token import api_token
from app.ui import pages, reproduction_pages
from app.ui.rendering import STATIC
from core.settings import Settings
from core.types.sow import StatementOfWork

VERSION = "0.1.0"
DESCRIPTION = "Carries a research task from a Statement of Work through the literature to a better, confirmed method."


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its services open when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="Research Agent", version=VERSION, description=DESCRIPTION, lifespan=lifespan, docs_url=None,
        redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    for module in (probes, runs, events, files, records, pages, reproduction_pages):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    add_problem_handlers(app)
    _describe(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(TokenGuard, token=api_token(settings))
    app.add_middleware(BrowserHeaders)
    probes.add_metrics(app)
    return app


def _describe(app: FastAPI) -> None:
    """Add to the OpenAPI document what the routes can't say: the token, and the forms that they refer to."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            for model in (ProblemDocument, StatementOfWork):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update({name: s for name, s in schema.pop("$defs", {}).items() if name not in schemas})
                schemas.setdefault(model.__name__, schema)
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
