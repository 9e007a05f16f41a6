"""The way from a sandbox to an allow-list of hosts: an HTTP proxy of its own behind a Unix socket, on our side.

It speaks CONNECT, and GET and HEAD for plain http. A host must be on the sandbox's list; its name is resolved here,
once, to public addresses (a private host: to any), and the connection goes to the address that was checked, so a name
that changes its mind leads nowhere else. Connections, requests, bytes both ways and silence are limited; each request
is reported. `Proxy-*` headers end here, and none of ours is added. It doesn't look into TLS: what is said to an allowed
host, the search data or a model's weights among it, is bounded by the bytes alone.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import h11

from agents.sandbox.egress_request import CHUNK, EgressRefusedError, EgressRequest, read_request
from agents.sandbox.network import EgressRecord, EgressVerdict, Network, Report, ignore
from agents.sandbox.openhands_events import write_whole
from core.types.base import Value
from core.types.host_rule import is_address, is_host, is_public

HEAD_S = 15.0
CONNECT_S = 15.0
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Account(Value):
    """What a sandbox has used so far: it lies beside the sandbox, so that a restart goes on counting."""

    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses that a name has now; raise OSError where it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class EgressProxy:
    """The proxy of one sandbox; `kept` is the file of its account."""

    def __init__(self, network: Network, kept: Path, report: Report = ignore) -> None:
        self._network, self._kept, self._report = network, kept, report
        self._open = 0
        self.used = Account.model_validate_json(kept.read_text()) if kept.exists() else Account()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the sandbox: one request, then its tunnel or its answer."""
        limits = self._network.limits
        if self._open >= 2 * limits.connections:
            return
        self._open += 1
        try:
            if self.used.requests > limits.requests:
                # The one before was reported: code that asks without end must not fill the journal.
                await _read_away(reader)
                await _say(writer, EgressRefusedError("all requests are used up", 429))
            else:
                await self._reported(reader, writer)
        finally:
            self._open -= 1

    async def _reported(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count("requests", 1)
        request = EgressRequest()
        try:
            await self._serve(request, reader, writer)
            request.verdict, request.reason = EgressVerdict.ALLOWED, ""
        except EgressRefusedError as error:
            request.verdict, request.reason = error.verdict, error.message
            if not request.answered:
                await _say(writer, error)
        except OSError as error:
            request.verdict, request.reason = EgressVerdict.FAILED, f"the connection broke off: {type(error).__name__}"
        finally:
            write_whole(self._kept, self.used.model_dump_json())
            await self._report(
                EgressRecord(
                    method=request.method, host=request.host, port=request.port, verdict=request.verdict,
                    reason=request.reason, **request.passed,
                )
            )  # fmt: skip

    async def _serve(self, request: EgressRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                await read_request(request, reader)
        except (h11.RemoteProtocolError, ValueError, TimeoutError, EOFError) as error:
            raise EgressRefusedError("this is no request to a proxy", 400) from error
        limits = self._network.limits
        if self.used.requests > limits.requests:
            raise EgressRefusedError(f"all {limits.requests} requests of this sandbox are used up", 429)
        if self._open > limits.connections:
            raise EgressRefusedError(f"{limits.connections} connections are open, which is all at a time", 503)
        self._check_left()
        async with self._connected(request) as far:
            request.answered = True
            if request.method == "CONNECT":
                writer.write(ESTABLISHED)
                await self._tunnel(request, (reader, writer), far)
            else:
                await self._answer(request, writer, far)

    @asynccontextmanager
    async def _connected(self, request: EgressRequest) -> AsyncIterator[Streams]:
        """Connect to an address of the host, every one of which was checked."""
        far = None
        for address in await self._addresses(request.host, request.port):
            try:
                async with asyncio.timeout(CONNECT_S):
                    far = await asyncio.open_connection(address, request.port)
                break
            except (OSError, TimeoutError):
                continue
        if far is None:
            raise EgressRefusedError(f"{request.host}:{request.port} does not answer", 502, EgressVerdict.FAILED)
        try:
            yield far
        finally:
            far[1].close()

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return where a host may be reached; raise EgressRefusedError with the reason why it may not."""
        rules = [rule for rule in self._network.hosts if rule.covers(host, port)]
        private = any(rule.private for rule in rules)
        if not is_host(host) or (is_address(host) and not private):
            raise EgressRefusedError(f"{host}:{port} is no name: hosts are asked for by their names")
        if not rules:
            known = ", ".join(str(rule) for rule in self._network.hosts)
            raise EgressRefusedError(f"{host}:{port} is not on the list of this sandbox ({known})")
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await resolve(host, port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise EgressRefusedError(f"{host} has no address", 502, EgressVerdict.FAILED) from error
        inner = [address for address in addresses if not is_public(address)]
        if inner and not private:
            raise EgressRefusedError(f"{host} leads to {inner[0]}, which is no public address")
        return addresses

    async def _tunnel(self, request: EgressRequest, near: Streams, far: Streams) -> None:
        """Pass bytes both ways until both sides have ended, the budget is used up, or both are silent."""
        self._spend(request, "bytes_out", len(request.rest))
        far[1].write(request.rest)
        try:
            async with self._awake() as awake, asyncio.TaskGroup() as group:
                group.create_task(self._pump(request, "bytes_in", far[0], near[1], awake))
                group.create_task(self._pump(request, "bytes_out", near[0], far[1], awake))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _answer(self, request: EgressRequest, writer: asyncio.StreamWriter, far: Streams) -> None:
        """Send a plain request and pass on its answer, which ends the connection."""
        self._spend(request, "bytes_out", len(request.head))
        far[1].write(request.head)
        async with self._awake() as awake:
            await self._pump(request, "bytes_in", far[0], writer, awake)

    @asynccontextmanager
    async def _awake(self) -> AsyncIterator[Callable[[], None]]:
        """Give what is to be called at every sign of life; end what goes on in silence."""
        seconds = self._network.limits.idle_s
        now = asyncio.get_running_loop().time
        watch = asyncio.timeout(seconds)

        def awake() -> None:
            # Bytes may still come between the end of the time and the cancellation that follows.
            if not watch.expired():
                watch.reschedule(now() + seconds)

        try:
            async with watch:
                yield awake
        except TimeoutError:
            raise EgressRefusedError(f"nothing was said for {seconds:g} s", 504, EgressVerdict.CUT) from None

    async def _pump(
        self,
        request: EgressRequest,
        way: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        awake: Callable[[], None],
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                self._spend(request, way, len(data))
                writer.write(data)
                await writer.drain()
                awake()
            if writer.can_write_eof():
                writer.write_eof()
        except ConnectionError:
            return

    def _spend(self, request: EgressRequest, way: str, count: int) -> None:
        """Count bytes before they pass; raise EgressRefusedError where they would be more than allowed."""
        if getattr(self.used, way) + count > getattr(self._network.limits, way):
            self._count(way, getattr(self._network.limits, way) - getattr(self.used, way))
            self._check_left()
        self._count(way, count)
        request.passed[way] += count

    def _check_left(self) -> None:
        for way, name in (("bytes_in", "download"), ("bytes_out", "upload")):
            limit = getattr(self._network.limits, way)
            if getattr(self.used, way) >= limit:
                raise EgressRefusedError(f"the {limit} bytes that it may {name} are used up", 403, EgressVerdict.CUT)

    def _count(self, what: str, count: int) -> None:
        self.used = self.used.model_copy(update={what: getattr(self.used, what) + count})


async def _read_away(reader: asyncio.StreamReader) -> None:
    """Read what was sent: a connection closed before that is reset, and its answer lost."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(1.0):
            await reader.read(CHUNK)


async def _say(writer: asyncio.StreamWriter, error: EgressRefusedError) -> None:
    """Answer with an error, its reason in the status line too: clients of CONNECT show nothing else."""
    words = f"sandbox network: {error.message}".encode("ascii", "replace")
    answer = h11.Connection(h11.SERVER)
    headers = [("content-type", "text/plain"), ("content-length", str(len(words) + 1)), ("connection", "close")]
    head = answer.send(h11.Response(status_code=error.answer, headers=headers, reason=words)) or b""
    writer.write(head + words + b"\n")
    await writer.drain()
    writer.close()
