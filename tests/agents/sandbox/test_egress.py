"""The proxy of a sandbox, spoken to as hostile code would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agents.sandbox import egress
from agents.sandbox.egress import EgressProxy
from agents.sandbox.network import EgressLimits, EgressRecord, EgressVerdict, Network
from core.types.host_rule import HostRule, is_public, narrowed, read_rules
from tests.fakes.package_host import PackageHost, free_port

HELLO = b"hello from packages.test"


class Proxied:
    """A proxy behind a socket, and what it reported."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.path, self.records = folder / "egress.sock", []
        self.proxy = EgressProxy(network, folder / "account.json", self._report)

    async def _report(self, record: EgressRecord) -> None:
        self.records.append(record)

    async def ask(self, sent: bytes, *, then: bytes = b"", wait_s: float = 10.0) -> bytes:
        """Return all that comes back; `then` is sent once the tunnel stands."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(sent)
        got = b""
        async with asyncio.timeout(wait_s):
            if then:
                got = await reader.readuntil(b"\r\n\r\n")
                writer.write(then)
            got += await reader.read()
        writer.close()
        return got


@contextlib.asynccontextmanager
async def proxied(folder: Path, *hosts: str, private: str = "", **limits: float) -> AsyncIterator[Proxied]:
    rules = (*read_rules(",".join(hosts)), *read_rules(private, private=True))
    made = Proxied(folder, Network(hosts=rules, limits=EgressLimits(**limits)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await made.proxy.serve(reader, writer)
        writer.close()

    async with await asyncio.start_unix_server(serve, made.path):
        yield made


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PackageHost]:
    with PackageHost(tmp_path / "packages") as made:
        yield made


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names be resolved to one answer after another; return the list of what was asked."""
    asked: list[str] = []

    async def resolve(name: str, port: int) -> list[str]:
        asked.append(name)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(egress, "resolve", resolve)
    return asked


async def test_a_name_that_changes_its_mind_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: PackageHost
) -> None:
    """A rebinding name: public when it is checked, this machine when it is asked again."""
    asked = names(monkeypatch, ["203.0.113.7"], ["127.0.0.1"])
    monkeypatch.setattr(egress, "is_public", lambda address: address == "203.0.113.7")
    connected: list[str] = []
    really = asyncio.open_connection

    async def connect(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connected.append(address)
        # Where the checked address would lead.
        return await really("127.0.0.1", port)

    monkeypatch.setattr(asyncio, "open_connection", connect)
    port = host.http_port
    async with proxied(tmp_path, f"rebinding.test:{port}") as made:
        got = await made.ask(f"GET http://rebinding.test:{port}/ HTTP/1.1\r\nHost: rebinding.test\r\n\r\n".encode())
        assert got.endswith(HELLO)
        assert (asked, connected) == (["rebinding.test"], ["203.0.113.7"]), (
            "the checked address is the one connected to"
        )
        second = await made.ask(f"CONNECT rebinding.test:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b"403 sandbox network: rebinding.test leads to 127.0.0.1, which is no public address" in second
    assert connected == ["203.0.113.7"]


@pytest.mark.parametrize(
    "inner",
    ["127.0.0.1", "10.1.2.3", "192.168.0.9", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "::",
     "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.0.0.1"],
)  # fmt: skip
async def test_one_address_that_is_not_public_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    assert not is_public(inner)
    names(monkeypatch, ["93.184.215.14", inner])
    async with proxied(tmp_path, "two-faced.test") as made:
        got = await made.ask(b"CONNECT two-faced.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 403 sandbox network: two-faced.test leads to "), got
    assert made.records[0].verdict is EgressVerdict.REFUSED


async def test_no_header_for_a_proxy_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: PackageHost
) -> None:
    names(monkeypatch, ["127.0.0.1"])
    target = f"packages.test:{host.http_port}"
    sent = (
        f"GET http://{target}/path?q=1 HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: Basic c2VjcmV0\r\n"
        "Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n\r\n"
        # A second request on the same connection must not be passed on unread.
        f"GET http://{target}/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    async with proxied(tmp_path, private=target) as made:
        assert (await made.ask(sent.encode())).endswith(HELLO)
    ((path, headers),) = host.asked
    assert path == "/path?q=1"
    assert headers == {"host": target, "x-kept": "2", "connection": "close"}


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x16\x03\x01 TLS without CONNECT\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: packages.test\r\n\r\n", b"400"),
        (b"GET ftp://packages.test/ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET http://user:secret@packages.test/ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"CONNECT user@packages.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"CONNECT packages.test HTTP/1.1\r\nHost: x\r\n\r\n", b"403"),
        (b"CONNECT packages.test:443/x HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"CONNECT packages.test:99999 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"CONNECT [::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"403"),
        (b"CONNECT *.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"403"),
        (b"POST http://packages.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", b"405"),
        (b"CONNECT " + b"a" * 70_000 + b":443 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT packages.test.:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"502"),
    ],
)
async def test_what_is_no_request_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    names(monkeypatch, [])
    async with proxied(tmp_path, "packages.test", "*.test") as made:
        got = await made.ask(sent)
    assert got.split()[1] == answer, got[:300]
    assert got.split(b"\r\n")[0].count(b"sandbox network") == 1
    assert len(made.records) == 1
    assert made.records[0].verdict is not EgressVerdict.ALLOWED


async def test_upload_silence_connections_and_requests_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: PackageHost
) -> None:
    names(monkeypatch, ["127.0.0.1"])
    target = f"packages.test:{host.http_port}"
    connect = f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    limits = {"connections": 2, "requests": 5, "bytes_out": 50_000, "idle_s": 1.0}
    async with proxied(tmp_path, private=target, **limits) as made:
        silent = [asyncio.create_task(made.ask(connect)) for _ in range(2)]
        while made.proxy.used.requests < 2:
            await asyncio.sleep(0.01)
        assert b"503 sandbox network: 2 connections are open" in await made.ask(connect)
        assert all(b"established" in got for got in await asyncio.gather(*silent))
        assert [r.reason for r in made.records[1:]] == ["nothing was said for 1 s"] * 2
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000
        with contextlib.suppress(ConnectionError):
            assert b"taken" not in await made.ask(connect, then=post)
        assert made.records[-1].verdict is EgressVerdict.CUT
        assert "may upload are used up" in made.records[-1].reason
        assert made.records[-1].bytes_out <= 50_000
        assert b"may upload are used up" in await made.ask(connect)
        assert b"429" in await made.ask(connect)
        told = len(made.records)
        assert b"429" in await made.ask(connect)
    assert told == len(made.records) == 6, "a flood is reported once"
    again = EgressProxy(Network(), tmp_path / "account.json")
    assert again.used.requests > 5, "a restart goes on counting"


async def test_a_host_that_does_not_answer_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["127.0.0.1"])
    target = f"gone.test:{free_port()}"
    async with proxied(tmp_path, private=target) as made:
        assert b"502 sandbox network" in await made.ask(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert made.records[0].verdict is EgressVerdict.FAILED


async def test_an_address_that_the_operator_names_is_reached(tmp_path: Path, host: PackageHost) -> None:
    target = f"127.0.0.1:{host.http_port}"
    async with proxied(tmp_path, private=target) as made:
        got = await made.ask(f"GET http://{target}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        other = await made.ask(f"GET http://127.0.0.1:{host.https_port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert got.endswith(HELLO)
    assert b"403 sandbox network" in other


@pytest.mark.parametrize(
    "text", ["https://a.test", "a.test:", "a.test:0", "*", "*.", "a b", "10.0.0.1", "127.1", "a/b"]
)
def test_what_is_no_public_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|host|address"):
        HostRule.parse(text)


def test_a_statement_of_work_narrows_and_never_widens() -> None:
    operator = (*read_rules("a.test, *.b.test:8443"), *read_rules("mirror.test:80", private=True))
    asked = read_rules("a.test,x.b.test:8443,other.test,b.test:8443,a.test:80,mirror.test:80")
    assert [str(r) for r in narrowed(operator, asked)] == ["a.test", "x.b.test:8443", "mirror.test:80"]
    assert [r.private for r in narrowed(operator, asked)] == [False, False, True]
    assert [str(r) for r in narrowed(operator, read_rules("*.test:8443"))] == ["*.b.test:8443"]
    assert narrowed(operator, ()) == ()
    assert not narrowed(read_rules("mirror.test:80"), read_rules("mirror.test:80", private=True))[0].private
