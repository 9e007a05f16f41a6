"""The command line's client of the API: where it is, the token, and problem documents turned back into our errors."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from app.token import known_token
from core.errors import CallerError, ConflictError, InvalidInputError, NotFoundError, OperatorError, Problem
from core.settings import Settings
from core.sow_reader import SowFormat, format_of_suffix

URL_FILE = "url"
MEDIA_TYPES = {
    SowFormat.YAML: "application/yaml", SowFormat.JSON: "application/json", SowFormat.MARKDOWN: "text/markdown",
}  # fmt: skip
TRIES = 30


def load_settings() -> Settings:
    """Return the settings; raise InvalidInputError that names what is wrong, without values: they may be secrets."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise InvalidInputError(f"A setting is not valid: {wrong}.", fix="Run `research-agent settings`.") from error


def api_url(settings: Settings) -> str:
    """Return the API's address: the set one, else where `up` of this state directory said it listens."""
    if settings.url:
        return settings.url.rstrip("/")
    try:
        return (settings.state_dir / URL_FILE).read_text().strip()
    except FileNotFoundError:
        return f"http://{settings.host}:{settings.port}"


def is_loopback(url: str) -> bool:
    """Return whether an address is on this machine."""
    host = httpx.URL(url).host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class SowFile:
    """A SoW as it is sent. `folder` is where its relative paths start."""

    body: bytes
    media_type: str
    folder: Path


def read_sow_file(path: Path) -> SowFile:
    """Return a SoW file unread; raise InvalidInputError where there is none or its kind is not known."""
    media_type = MEDIA_TYPES[format_of_suffix(path.suffix)]
    try:
        return SowFile(path.read_bytes(), media_type, path.resolve().parent)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror}.") from error


class ApiClient:
    """Calls the API; raises our errors for problem documents, OperatorError when it can't be reached."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.url = str(http.base_url).rstrip("/")

    async def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON at a path."""
        given = {k: v for k, v in parameters.items() if v is not None}
        return (await self._send("GET", path, params=given)).json()

    async def post(self, path: str, body: Any = None) -> Any:
        """Send JSON and return the answer."""
        return (await self._send("POST", path, json=body)).json()

    async def submit(self, sow: SowFile, *, validate_only: bool = False) -> Any:
        """Send a SoW, with its folder where the API is on this machine; return the run or the checked SoW."""
        headers = {"Content-Type": sow.media_type}
        if is_loopback(self.url):
            headers["Research-Agent-Root"] = quote(str(sow.folder))
        path = "/v1/sow/validate" if validate_only else "/v1/runs"
        return (await self._send("POST", path, content=sow.body, headers=headers)).json()

    async def download(self, path: str, target: Path) -> None:
        """Write a file of the API to disk, whole or not at all."""
        draft = target.with_name(f".{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            async with self._http.stream("GET", path) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
        draft.replace(target)

    async def latest(self, run_id: str) -> str:
        """Return the run's id, where `latest` is the newest one's."""
        if run_id != "latest":
            return run_id
        items = (await self.get("/v1/runs", limit=1))["items"]
        if not items:
            raise NotFoundError("There is no run yet.", fix="Start one: research-agent submit SOW.")
        return str(items[0]["id"])

    async def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise OperatorError(
                f"The API at {self.url} can't be reached.", fix="Start it with `research-agent up`, or set"
                " RESEARCH_AGENT_URL and RESEARCH_AGENT_TOKEN.",
            ) from error  # fmt: skip
        if response.is_error:
            raise _error(response)
        return response


def _error(response: httpx.Response) -> CallerError | OperatorError:
    try:
        body = response.json()
        detail, fix = str(body["detail"]), body.get("fix")
    except (ValueError, KeyError, TypeError):
        return OperatorError(f"The API answered {response.status_code} without saying why.")
    match response.status_code:
        case 404:
            return NotFoundError(detail, fix=fix)
        case 409:
            return ConflictError(detail, fix=fix)
        case status if status >= 500:
            return OperatorError(detail, fix=fix)
        case _:
            return InvalidInputError(detail, fix=fix, problems=tuple(Problem(p) for p in body.get("problems", ())))


@asynccontextmanager
async def open_client(settings: Settings, url: str | None = None) -> AsyncIterator[ApiClient]:
    """Give a client of the API; raise OperatorError when no token is known."""
    token = known_token(settings)
    if token is None:
        raise OperatorError("No token is known.", fix="Start `research-agent up` here, or set RESEARCH_AGENT_TOKEN.")
    headers = {"Authorization": f"Bearer {token}"}
    address = url or api_url(settings)
    # A proxy of the environment has no business between us and this machine.
    transport = httpx.AsyncHTTPTransport(retries=2)
    mounts = {"all://": transport} if is_loopback(address) else None
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=30.0, mounts=mounts) as http:
        yield ApiClient(http)
