"""The fetcher's fences: hosts, redirects, secrets, size, waiting."""

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agents.survey.sources.disk_cache import DirectoryCache
from agents.survey.sources.http import Fetcher, Request, RequestBudget
from agents.survey.sources.settings import SourceSettings
from core.errors import InvalidInputError, SourceError

AUTH = {"Authorization": "Bearer secret"}


ANSWERS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "/file": (302, b"", {"Location": "file:///etc/passwd"}),
    "/loop": (301, b"", {"Location": "/loop"}),
    "/nowhere": (302, b"", {"Location": "http://["}),
    "/big": (200, b"[" + b"1," * 5000 + b"1]", {}),
    "/deep": (200, b"[" * 4000, {}),
    "/bomb": (200, gzip.compress(b" " * 10**6), {"Content-Encoding": "gzip"}),
    "/later": (429, b"{}", {"Retry-After": "1"}),
    "/never": (429, b"{}", {"Retry-After": "86400"}),
    "/teapot": (418, b"{}", {}),
}


class Site(ThreadingHTTPServer):
    """A server whose paths misbehave in one way each."""

    def __init__(self, elsewhere: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.elsewhere = elsewhere
        self.seen: list[tuple[str, str | None]] = []
        self.times: list[float] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        self.server.times.append(time.monotonic())
        if path == "/away":
            self._answer(302, b"", Location=f"{self.server.elsewhere}/landing")
        elif path == "/drip":
            self._drip()
        elif path == "/later" and len(self.server.seen) > 1:
            self._answer(200, b"{}")
        else:
            status, body, headers = ANSWERS.get(path, (200, b'{"ok": true}', {}))
            self._answer(status, body, **headers)

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.05)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[Site]:
    site = Site()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture
def site(other: Site) -> Iterator[Site]:
    site = Site(other.url)
    yield site
    site.shutdown()
    site.server_close()


def fetcher(site: Site, tmp_path: Path, **changes: object) -> Fetcher:
    polite = {"seconds_between": {}, "back_off_s": 0.01, "max_response_bytes": 4096, "answer_s": 0.4, "attempts": 2}
    settings = SourceSettings(github_url=site.url, **{**polite, **changes})
    return Fetcher(settings, DirectoryCache(tmp_path / "cache"), RequestBudget(50))


async def test_a_redirect_to_an_unlisted_host_is_refused(site: Site, other: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path) as asking:
        with pytest.raises(SourceError, match="not on the list"):
            await asking.ask(Request("github", "/away", secrets=AUTH))
    assert not other.seen


async def test_secrets_are_not_sent_to_another_host(site: Site, other: Site, tmp_path: Path) -> None:
    listed = other.url.removeprefix("http://")
    async with fetcher(site, tmp_path, extra_hosts=(listed,)) as asking:
        answer = await asking.ask(Request("github", "/away", secrets=AUTH))
    assert answer.json() == {"ok": True}
    assert site.seen[0][1] == "Bearer secret"
    assert other.seen == [("/landing", None)]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/file", "not on the list"),
        ("/loop", "redirects"),
        ("/big", "larger"),
        ("/bomb", "larger"),
        ("/nowhere", "no address"),
        ("/deep", "not JSON"),
        ("/drip", "TimeoutError"),
    ],
)
async def test_what_is_refused(site: Site, tmp_path: Path, path: str, problem: str) -> None:
    async with fetcher(site, tmp_path) as asking:
        with pytest.raises(SourceError, match=problem):
            await asking.ask(Request("github", path))


async def test_retry_after_is_honoured(site: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path) as asking:
        assert (await asking.ask(Request("github", "/later"))).status == 200
    assert site.times[1] - site.times[0] >= 0.95


async def test_a_wait_that_is_too_long_is_a_failure_at_once(site: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path) as asking:
        with pytest.raises(SourceError, match="429"):
            await asking.ask(Request("github", "/never"))
    assert len(site.seen) == 1


async def test_a_client_error_is_not_repeated(site: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path) as asking:
        with pytest.raises(SourceError, match="418"):
            await asking.ask(Request("github", "/teapot"))
    assert len(site.seen) == 1


async def test_secrets_are_neither_kept_nor_part_of_the_question(site: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path) as asking:
        await asking.ask(Request("github", "/a", secrets=AUTH, secret_params={"api_key": "hidden"}))
        again = await asking.ask(Request("github", "/a"))
    assert again.cached
    kept = b"".join(p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert b"secret" not in kept
    assert b"hidden" not in kept


async def test_requests_to_one_source_keep_their_distance(site: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path, seconds_between={"github": 0.2}) as asking:
        for number in range(3):
            await asking.ask(Request("github", f"/{number}"))
    assert site.times[2] - site.times[0] >= 0.35


async def test_an_answer_expires(site: Site, tmp_path: Path) -> None:
    async with fetcher(site, tmp_path, cache_days=0.0) as asking:
        await asking.ask(Request("github", "/a"))
        assert not (await asking.ask(Request("github", "/a"))).cached
    assert len(site.seen) == 2


@pytest.mark.parametrize("url", ["ftp://arxiv.org", "file:///etc", "arxiv.org", "https://user:key@arxiv.org"])
def test_addresses_are_http(url: str) -> None:
    with pytest.raises(InvalidInputError, match="arxiv"):
        SourceSettings(arxiv_url=url)


def test_keys_do_not_show() -> None:
    assert "sesame" not in repr(SourceSettings(openalex_key="sesame", github_token="sesame", hub_token="sesame"))
