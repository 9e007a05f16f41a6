"""A command's output as it comes, in order, bounded, until it ends or a watch says stop."""

import asyncio
import codecs
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

from agents.sandbox.port import MAX_OUTPUT_CHARACTERS, Ending, Output

CHUNK = 16384
WAITING = 256
Name = Literal["stdout", "stderr"]
Queue = asyncio.Queue[Output | None]


async def pieces(queue: Queue, watch: asyncio.Task[Ending], streams: int) -> AsyncGenerator[Output | Ending]:
    """Yield what a queue holds until each stream has put its None; a limit ends it with an Ending."""
    total = 0
    while streams:
        taken = asyncio.ensure_future(queue.get())
        await asyncio.wait({taken, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not taken.done():
            taken.cancel()
            yield watch.result()
            return
        piece = taken.result()
        if piece is None:
            streams -= 1
            continue
        total += len(piece.text)
        yield piece
        if total > MAX_OUTPUT_CHARACTERS:
            yield Ending.OUTPUT
            return


async def outputs(process: asyncio.subprocess.Process, watch: asyncio.Task[Ending]) -> AsyncGenerator[Output | Ending]:
    """Yield a process's output until both streams and the process have ended, or a limit is passed."""
    queue: Queue = asyncio.Queue(WAITING)
    readers = [asyncio.create_task(_read(stream, name, queue)) for stream, name in _streams(process)]
    try:
        async with aclosing(pieces(queue, watch, len(readers))) as found:
            async for piece in found:
                yield piece
                if isinstance(piece, Ending):
                    return
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ended, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ended.cancel()
            yield watch.result()
    finally:
        for reader in readers:
            reader.cancel()
        # Until they have let go of the pipes no one else may read them.
        await asyncio.gather(*readers, return_exceptions=True)


async def drained(process: asyncio.subprocess.Process) -> None:
    """Read what is left in a process's pipes and await its end.

    Its `wait` alone never returns while a full pipe keeps its end of file from being seen.
    """
    await process.communicate()


def _streams(process: asyncio.subprocess.Process) -> list[tuple[asyncio.StreamReader, Name]]:
    if process.stdout is None or process.stderr is None:
        raise ValueError("the process was started without pipes")
    return [(process.stdout, "stdout"), (process.stderr, "stderr")]


async def _read(stream: asyncio.StreamReader, name: Name, queue: Queue) -> None:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while data := await stream.read(CHUNK):
        text = decode(data)
        if text:
            await queue.put(Output(stream=name, text=text))
    await queue.put(None)
