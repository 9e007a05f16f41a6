"""The bridge inside a sandbox: `python bridge.py [options] -- COMMAND…`.

Runs in the sandbox with the standard library alone. It listens on loopback for the gateway and the proxy and passes
connections to the sockets that lead out; it offers connections to the server at the agent's port; it takes on the
kernel's limits per process, runs the command and ends with its code. It guards nothing after that: what it could do,
any code inside can.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import sys

SOCKETS = "/run/host"
IDLE_OFFERS = 4
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes one way."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def join(one: Streams, other: Streams) -> None:
    """Pass bytes both ways until both sides have ended."""
    await asyncio.gather(pump(one[0], other[1]), pump(other[0], one[1]))
    one[1].close()
    other[1].close()


async def serve(port: int, name: str) -> asyncio.Server:
    """Listen on loopback and lead out through a socket."""

    async def lead_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_unix_connection(f"{SOCKETS}/{name}.sock")
        except OSError:
            writer.close()
            return
        await join((reader, writer), far)

    return await asyncio.start_server(lead_out, "127.0.0.1", port)


async def offer_agent(port: int) -> None:
    """Offer one connection after another to the server inside."""
    while True:
        try:
            far = await asyncio.open_unix_connection(f"{SOCKETS}/tunnel.sock")
            wanted = await far[0].read(1)
            if not wanted:
                raise ConnectionError("the other side is gone")
            near = await asyncio.open_connection("127.0.0.1", port)
            far[1].write(b"!")
        except OSError:
            await asyncio.sleep(0.1)
            continue
        # Kept by the loop's own reference through `join`'s tasks until it ends.
        asyncio.get_running_loop().create_task(join(near, far)).add_done_callback(lambda task: task.exception())


def confine(options: argparse.Namespace) -> None:
    """Take on limits for this process and all that it starts; none of them can be raised again."""
    if options.cpus:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    for limit, megabytes in ((resource.RLIMIT_DATA, options.memory_mb), (resource.RLIMIT_FSIZE, options.disk_mb)):
        if megabytes:
            resource.setrlimit(limit, (megabytes * 2**20, megabytes * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


async def main() -> int:
    """Open the ways through, run the command, and return its code."""
    parser = argparse.ArgumentParser()
    for name in ("--gateway", "--egress", "--agent", "--cpus", "--memory-mb", "--disk-mb"):
        parser.add_argument(name, type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    confine(options)
    tasks = []
    for name in ("gateway", "egress"):
        if port := getattr(options, name):
            await serve(port, name)
    if options.agent:
        tasks = [asyncio.create_task(offer_agent(options.agent)) for _ in range(IDLE_OFFERS)]
    try:
        process = await asyncio.create_subprocess_exec(*options.command)
    except OSError as error:
        sys.stderr.write(f"{options.command[0]}: {error.strerror}\n")
        return 127
    code = await process.wait()
    for task in tasks:
        task.cancel()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
