"""One way to the network for all sources: polite, bounded, cached.

Does: an allow-list of hosts re-checked at every redirect, http(s) only, a rate per source, back-off that honours
Retry-After, caps on the size and the time of an answer, a request budget for the run, and a cache so that no answered
question is asked again, by this run or by the next one. Doesn't: interpret what comes back; that is hostile data for
the callers.
Doesn't protect from: a host on the allow-list that resolves to another machine (TLS does, where https is used).
"""

import asyncio
import base64
import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from agents.survey.sources.json_values import parse_json
from agents.survey.sources.settings import SourceSettings
from core.errors import BudgetExceededError, SourceError
from core.ports import Cache

MAX_REDIRECTS = 5
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_KEPT_HEADERS = ("content-type", "link")
_GONE_DAYS = 1.0


@dataclass(frozen=True)
class Request:
    """One question to a source.

    `secrets` are headers and `secret_params` query parameters that authenticate; they are sent to the source's own host
    only and are no part of the question's identity. `check` raises SourceError for a body that is cut or garbled: it is
    asked for again and never kept.
    """

    source: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_params: Mapping[str, str] = field(default_factory=dict, repr=False)
    accepted: frozenset[int] = frozenset({200})
    check: Callable[[bytes], object] = parse_json

    def key(self, base: str) -> str:
        """Return the question's identity, the same in every run and for every key."""
        asked = [base, self.path, sorted(self.params.items()), sorted(self.headers.items()), self.body]
        return "survey:" + hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What a source answered. `url` is where it came from after redirects."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes
    cached: bool = False
    moved: bool = False

    def json(self) -> Any:
        """Return the body as JSON; raise SourceError when it is not."""
        return parse_json(self.body)


@dataclass
class RequestBudget:
    """How many requests a run may still send. Answers from the cache are free."""

    limit: int
    spent: int = 0
    by_source: dict[str, int] = field(default_factory=dict)

    def spend(self, source: str) -> None:
        """Count a request; raise BudgetExceededError when there is none left."""
        if self.spent >= self.limit:
            raise BudgetExceededError(
                f"The survey's {self.limit} requests are used up.", fix="Raise survey.max_requests to go further."
            )
        self.spent += 1
        self.by_source[source] = self.by_source.get(source, 0) + 1


class Fetcher:
    """Asks questions over HTTP. Use as an async context manager."""

    def __init__(self, settings: SourceSettings, cache: Cache, budget: RequestBudget) -> None:
        self.settings = settings
        self.budget = budget
        self._cache = cache
        self._addresses = settings.addresses
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            timeout=settings.timeout_s,
            headers={"User-Agent": f"research-agent ({settings.contact or 'no contact given'})"},
            trust_env=True,
        )
        self._turns: dict[str, _Turn] = {}
        self._jitter = random.Random(0)  # noqa: S311 - spreads retries, protects nothing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, request: Request) -> Answer:
        """Return the answer, from the cache if it is there; raise SourceError when the source fails for good."""
        key = request.key(self._addresses[request.source])
        kept = await self._cache.get(key)
        if kept is not None:
            return _unpack(kept)
        answer = await self._ask_anew(request)
        days = self.settings.cache_days if answer.status == 200 else _GONE_DAYS
        await self._cache.put(key, _pack(answer), days * 86400)
        return answer

    async def _ask_anew(self, request: Request) -> Answer:
        problem = "no answer"
        for attempt in range(self.settings.attempts):
            self.budget.spend(request.source)
            try:
                # A server that drips its answer keeps every single read in time, so the whole has a limit too.
                async with asyncio.timeout(self.settings.answer_s):
                    answer = await self._send(request)
            except (httpx.HTTPError, TimeoutError) as error:
                problem = type(error).__name__
                wait: float | None = self._back_off(attempt)
            else:
                problem, wait = f"HTTP {answer.status}", self._wait(answer, attempt)
                if answer.status in request.accepted:
                    fault = _fault(request, answer)
                    if fault is None:
                        return answer
                    problem, wait = fault, self._back_off(attempt)
            if wait is None or wait > self.settings.longest_wait_s:
                break
            if attempt + 1 < self.settings.attempts:
                await asyncio.sleep(wait)
        raise SourceError(f"{request.source} did not answer {request.path}: {problem}.")

    async def _send(self, request: Request) -> Answer:
        base = self._addresses[request.source]
        home = _origin(base)
        query = urlencode({**request.params, **request.secret_params})
        url, method, moved = f"{base}{request.path}" + (f"?{query}" if query else ""), "GET", False
        if request.body is not None:
            method = "POST"
        for _ in range(MAX_REDIRECTS + 1):
            self._check(url)
            secrets = request.secrets if _origin(url) == home else {}
            answer = await self._once(request, method, url, secrets)
            location = answer.headers.get("location")
            if answer.status not in {301, 302, 303, 307, 308} or not location:
                return Answer(answer.status, answer.url, answer.headers, answer.body, moved=moved)
            url, moved = _target(url, location), moved or answer.status in {301, 308}
        raise SourceError(f"{request.source} redirects without end.")

    async def _once(self, request: Request, method: str, url: str, secrets: Mapping[str, str]) -> Answer:
        turn = self._turns.setdefault(request.source, _Turn(self.settings.seconds_between.get(request.source, 0.0)))
        await turn.wait()
        headers = {**request.headers, **secrets}
        async with self._client.stream(method, url, headers=headers, json=request.body) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self.settings.max_response_bytes:
                    raise SourceError(f"The answer from {urlsplit(url).netloc} is larger than allowed.")
            return Answer(response.status_code, url, dict(response.headers), bytes(body))

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.netloc.lower() not in self.settings.allowed_hosts:
            raise SourceError(
                f"The host {parts.netloc or '(none)'} is not on the list of sources; it was not contacted."
            )

    def _wait(self, answer: Answer, attempt: int) -> float | None:
        """Return how long to wait before asking again, or None when asking again is of no use."""
        limited = answer.status == 403 and answer.headers.get("x-ratelimit-remaining") == "0"
        if answer.status not in _RETRIED and not limited:
            return None
        said = _retry_after(answer.headers)
        return self._back_off(attempt) if said is None else said

    def _back_off(self, attempt: int) -> float:
        return self.settings.back_off_s * 2**attempt * (1 + 0.25 * self._jitter.random())


class _Turn:
    """Keeps a least time between the starts of requests to one source."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        if self._seconds <= 0:
            return
        async with self._lock:
            now = time.monotonic()
            if now < self._next:
                await asyncio.sleep(self._next - now)
            self._next = max(now, self._next) + self._seconds


def _origin(url: str) -> tuple[str, str]:
    """Return scheme and host: what was sent over TLS to a host is not repeated to it in the clear."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _target(url: str, location: str) -> str:
    try:
        return str(httpx.URL(urljoin(url, location)))
    except (ValueError, httpx.InvalidURL) as error:
        raise SourceError(f"{urlsplit(url).netloc} redirects to what is no address.") from error


def _fault(request: Request, answer: Answer) -> str | None:
    """Return what is wrong with the form of an accepted answer, if anything."""
    if answer.status != 200:
        return None
    try:
        request.check(answer.body)
    except SourceError as error:
        return error.message
    return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a source asks to wait: Retry-After in seconds or as a date, or GitHub's reset time."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.replace(".", "", 1).isdigit():
        return float(said)
    if said:
        try:
            at = parsedate_to_datetime(said)
        except ValueError:
            return None
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(0.0, float(reset) - time.time())
    return None


def _pack(answer: Answer) -> bytes:
    headers = {k: v for k, v in answer.headers.items() if k in _KEPT_HEADERS}
    body = base64.b64encode(answer.body).decode()
    row = {"status": answer.status, "url": _bare(answer.url), "headers": headers, "body": body, "moved": answer.moved}
    return json.dumps(row).encode()


def _unpack(kept: bytes) -> Answer:
    row = json.loads(kept)
    return Answer(row["status"], row["url"], row["headers"], base64.b64decode(row["body"]), True, row["moved"])


def _bare(url: str) -> str:
    """Return a URL without its query, which may hold a key."""
    return urlsplit(url)._replace(query="", fragment="").geturl()
