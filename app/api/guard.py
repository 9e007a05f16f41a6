"""What stands before every endpoint: the token, the size of bodies, and the headers that bind browsers.

All are plain ASGI, so that no route can be forgotten and streams pass unbuffered.
"""

from urllib.parse import parse_qsl, urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import http_problem, problem_response
from app.token import derived, same
from core.errors import UnauthorizedError

COOKIE = "research_agent"
OPEN = {"/livez", "/readyz", "/metrics", "/openapi.json", "/favicon.ico"}
READING = {"GET", "HEAD"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class BrowserHeaders:
    """Adds the headers that bind browsers where a response does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add to its response."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("cache-control", "private, no-cache")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class BodyLimit:
    """Refuses bodies above a size: by their declared length before reading, by counting where none is declared."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on while its body is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        text = f"At most {self._limit} bytes are taken."
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            await http_problem(413, text)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise HTTPException(413, text)
            return message

        await self._app(scope, counted, send)


class TokenGuard:
    """Lets requests through that bear the token, and browsers that hold a session made from it.

    A session is for reading, and for the UI's forms, which carry a token of their own. `?token=` is taken on pages of
    the UI only and answered with a session and a redirect, so that it does not stay in the address.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token
        self._session = derived(token, "session")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPEN or path.startswith("/static/"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if self._bears_token(request) or self._has_session(request):
            await self._app(scope, receive, send)
        elif self._brings_token(request):
            await self._welcome(request)(scope, receive, send)
        else:
            error = UnauthorizedError(fix="Send `Authorization: Bearer …`, or open the link that `up` printed.")
            await problem_response(error, request)(scope, receive, send)

    def _bears_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and same(given.strip(), self._token)

    def _has_session(self, request: Request) -> bool:
        allowed = request.method in READING or not request.url.path.startswith("/v1/")
        return allowed and same(request.cookies.get(COOKIE, ""), self._session)

    def _brings_token(self, request: Request) -> bool:
        is_page = request.method in READING and not request.url.path.startswith("/v1/")
        return is_page and same(request.query_params.get("token", ""), self._token)

    def _welcome(self, request: Request) -> RedirectResponse:
        rest = urlencode([(k, v) for k, v in parse_qsl(request.url.query) if k != "token"])
        # A path that starts with two slashes would be another host's address.
        path = "/" + request.url.path.lstrip("/")
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, self._session, httponly=True, samesite="strict", secure=secure, path="/")
        return response
