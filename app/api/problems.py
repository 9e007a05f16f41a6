"""Every error as `application/problem+json` (RFC 9457), with our code, the fix and the problems of single fields.

The body of a 500 never shows the exception's text: it is logged under an id that the body names.
"""

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.ui.rendering import error_page
from core.db import DATABASE_ERRORS, database_lost
from core.errors import CallerError, InvalidInputError, ResearchAgentError

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}

log = logging.getLogger(__name__)


class UnsupportedMediaTypeError(CallerError):
    """The body's media type is not one that is read here."""

    code = "unsupported_media_type"
    status = 415


class ForbiddenError(CallerError):
    """This form was not sent from a page of ours."""

    code = "forbidden"
    status = 403


class ProblemDocument(BaseModel):
    """An error."""

    type: str = Field(examples=["urn:research-agent:problem:invalid_input"])
    title: str
    status: int
    detail: str
    code: str
    fix: str | None = None
    problems: list[dict[str, Any]] = Field(default_factory=list, description="path, given, allowed, message")


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = MEDIA_TYPE


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for status, text in (("4XX", "The caller must change something"), ("5XX", "The operator must change something"))
}


def _body(status: int, code: str, detail: str, fix: str | None = None) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {
        "type": f"urn:research-agent:problem:{code}", "title": title, "status": status, "detail": detail,
        "code": code, "fix": fix, "problems": [],
    }  # fmt: skip


def wants_page(request: Request) -> bool:
    """Return whether a person's browser asks, and not for the API."""
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("accept", "")


def problem_response(error: ResearchAgentError, request: Request) -> Response:
    """Return the response for an error of ours: a page for a browser on a page, else a problem document."""
    if wants_page(request):
        return error_page(error.status, HTTPStatus(error.status).phrase, error.message, error.fix)
    body = _body(error.status, error.code, error.message, error.fix)
    if isinstance(error, InvalidInputError):
        body["problems"] = [dict(p) for p in error.problems]
    headers = {"WWW-Authenticate": 'Bearer realm="research-agent"'} if error.status == 401 else None
    return ProblemResponse(body, error.status, headers)


def http_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """Return the response for an error of the protocol."""
    return ProblemResponse(_body(status, CODES.get(status, "http_error"), detail), status, dict(headers or {}))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ResearchAgentError)
    if error.status >= 500:
        log.error("%s: %s", error.code, error)
    return problem_response(error, request)


async def _protocol(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if wants_page(request):
        return error_page(error.status_code, HTTPStatus(error.status_code).phrase, "There is no such page.", None)
    headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else error.headers
    return http_problem(error.status_code, str(error.detail), headers)


def _allowed(request: Request) -> list[str]:
    """Return all methods of an address; each route knows its own only."""
    routes = request.app.routes
    return [m for m in METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes)]


async def _validation(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    body = _body(422, "invalid_input", "The request is not valid.", "Correct the parameters listed.")
    body["problems"] = [
        {
            "path": ".".join(str(part) for part in detail["loc"]),
            "given": repr(detail.get("input"))[:160],
            "allowed": str(detail["msg"]).removeprefix("Input should be "),
            "message": detail["msg"],
        }
        for detail in error.errors()
    ]
    return ProblemResponse(body, 422)


async def _database(request: Request, error: Exception) -> Response:
    if not database_lost(error):
        return await _internal(request, error)
    log.warning("the database is away: %s", error)
    fix = "Ask again in a moment; what was accepted goes on from where it was."
    body = _body(503, "database_away", "The database does not answer just now.", fix)
    return ProblemResponse(body, 503, {"Retry-After": "2"})


async def _internal(request: Request, error: Exception) -> ProblemResponse:
    number = secrets.token_hex(4)
    log.error("internal error %s at %s", number, request.url.path, exc_info=error)
    return ProblemResponse(
        _body(500, "internal", "An internal error happened.", f"The API's log has it under {number}."), 500
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(ResearchAgentError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _protocol)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(Exception, _internal)
