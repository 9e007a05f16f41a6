"""The ways through a sandbox's wall, on our side: sockets for its gateway and its proxy, and a tunnel to its server.

Sandboxes have no network. They see one folder, read-only, with Unix sockets that we listen on: `gateway.sock` leads to
the LLM gateway; `egress.sock`, where there is an allow-list, to a proxy (egress.py); through `tunnel.sock` the bridge
inside (bridge.py) offers connections, and what connects to `agent.sock`, in a folder that the sandbox can't see, is
given the next one. So we never open a path that hostile code can replace. Only the proxy reads what it passes on.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from agents.sandbox.egress import EgressProxy
from agents.sandbox.network import Report
from agents.sandbox.port import SandboxSpec

CHUNK = 65536
OFFER_WAIT_S = 20.0
MAX_OFFERS = 64
SHUT_S = 5.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """The listeners of one sandbox."""

    def __init__(self, folder: Path, spec: SandboxSpec, report: Report) -> None:
        self._shared, self._private, self._gateway = folder / "host", folder / "agent", spec.gateway
        self._proxy = EgressProxy(spec.network, self._private / "egress.json", report) if spec.network.hosts else None
        self._offers: asyncio.Queue[Streams] = asyncio.Queue(MAX_OFFERS)
        self._closing = False
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._folders: dict[Path, int] = {}

    @property
    def agent_socket(self) -> Path:
        """Return where the server inside is reached, from this process."""
        return self._short(self._private) / "agent.sock"

    async def open(self) -> None:
        """Start to listen; sockets of an earlier owner are replaced."""
        listeners = [(self._shared, "tunnel.sock", self._offered), (self._private, "agent.sock", self._to_agent)]
        if self._gateway is not None:
            listeners.append((self._shared, "gateway.sock", self._to_gateway))
        if self._proxy is not None:
            listeners.append((self._shared, "egress.sock", self._to_proxy))
        for name in ("gateway.sock", "egress.sock"):
            (self._shared / name).unlink(missing_ok=True)
        for folder, name, serve in listeners:
            path = self._short(folder) / name
            path.unlink(missing_ok=True)
            self._servers.append(await asyncio.start_unix_server(serve, path))
            # A container's user is another one; the folder above keeps other users of this machine out.
            path.chmod(0o666)

    def _short(self, folder: Path) -> Path:
        """Return a path through an open descriptor: the kernel takes no socket path above 107 bytes."""
        if folder not in self._folders:
            self._folders[folder] = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return Path(f"/proc/self/fd/{self._folders[folder]}")

    async def close(self) -> None:
        """Stop to listen and cut what is open."""
        self._closing = True
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._offers.empty():
            await _shut(self._offers.get_nowait()[1])
        while self._folders:
            os.close(self._folders.popitem()[1])

    async def _offered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._offers.put_nowait((reader, writer))
        except asyncio.QueueFull:
            await _shut(writer)

    async def _to_agent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def inside() -> Streams:
            while True:
                offer = await asyncio.wait_for(self._offers.get(), OFFER_WAIT_S)
                offer[1].write(b"!")
                await offer[1].drain()
                # The bridge answers the byte: an offer of an earlier, dead bridge is passed over.
                if await offer[0].read(1):
                    return offer
                await _shut(offer[1])

        await self._join((reader, writer), inside)

    async def _to_gateway(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = (self._gateway or "").rpartition(":")
        await self._join((reader, writer), lambda: asyncio.open_connection(host, int(port)))

    async def _to_proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._proxy is not None:
            await self._until_closed(self._proxy.serve(reader, writer), writer)

    async def _join(self, near: Streams, connect: Callable[[], Awaitable[Streams]]) -> None:
        async def joined() -> None:
            await join(near, await connect())

        await self._until_closed(joined(), near[1])

    async def _until_closed(self, serving: Coroutine[Any, Any, None], writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it ends or `close` cuts it."""
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        try:
            await serving
        except (OSError, TimeoutError):
            return
        except asyncio.CancelledError:
            # `close` cut it; asyncio would log the cancellation of its own callback as an error.
            if not self._closing:
                raise
        finally:
            self._tasks.discard(task)
            await _shut(writer)


async def join(one: Streams, other: Streams) -> None:
    """Pass bytes both ways until both sides have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(one[0], other[1]))
            group.create_task(_pump(other[0], one[1]))
    finally:
        await _shut(one[1])
        await _shut(other[1])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(SHUT_S):
            await writer.wait_closed()
    except TimeoutError:
        # Whoever does not read what is left would keep the connection for ever.
        writer.transport.abort()
    except OSError:
        return
