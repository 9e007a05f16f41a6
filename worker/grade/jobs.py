"""The jobs inside the sandbox: call a sample's function on inputs, or run a benchmark's test on known answers.

Both write frames to a pipe. Everything here runs in a forked child that has already given up what it could; a sample
shares its process with this code, and nothing it can find here is worth having: inputs and a pipe for its answers.
"""

import array
import itertools
import marshal
import os
import random
import signal
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from worker.grade.wire import brief, decode, encode, is_digest

HEAD = struct.Struct("<cI")  # a frame: its kind and the size of what follows
_PIECE = struct.Struct("<I")
Job = dict[str, Any]
_FLUSH_BYTES = 16_384
_FLUSH_S = 0.02
_FORBIDDEN_ERRNO = frozenset({1, 13, 30})  # EPERM, EACCES, EROFS


class _Beyond(BaseException):
    """The test calls the candidate more often, or otherwise, than outputs are known."""


def pack_calls(calls: Sequence[tuple]) -> bytes:
    """Return calls in pieces of 1, 1, 2, 4 and so on, because most wrong code fails early and never needs the rest."""
    pieces: list[bytes] = []
    at, size = 0, 1
    while at < len(calls):
        body = marshal.dumps(list(calls[at : at + size]))
        pieces += (_PIECE.pack(len(body)), body)
        at, size = at + size, max(1, at + size)
    return b"".join(pieces)


def unpack_calls(data: bytes) -> Iterator[tuple]:
    """Yield the calls, reading each piece when it is needed."""
    at = 0
    while at < len(data):
        (size,) = _PIECE.unpack_from(data, at)
        at += _PIECE.size + size
        yield from marshal.loads(data[at - size : at])  # noqa: S302 - sent by the grader


class Frames:
    """The child's results, written in frames and flushed early at first, then by size and time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held: list[bytes] = []
        self._size = 0
        self._count = 0
        self._flushed = time.monotonic()

    def put(self, kind: bytes, body: bytes = b"") -> None:
        """Append a frame; the first few, and then every 16 kB or 20 ms, are sent at once."""
        self._held += (HEAD.pack(kind, len(body)), body)
        self._size += len(body)
        self._count += 1
        if self._count <= 4 or self._size > _FLUSH_BYTES or time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def value(self, value: object, whole: bool = False) -> None:
        """Append an output: its bytes or its digest, before which a long one can be sent in full."""
        data = brief(value)
        if whole and is_digest(data):
            self.put(b"W", encode(value))
        self.put(b"R", data)

    def flush(self) -> None:
        """Write what is held."""
        data = memoryview(b"".join(self._held))
        while data:
            data = data[os.write(self._fd, data) :]
        self._held.clear()
        self._size = 0
        self._flushed = time.monotonic()

    def error(self, stage: str, error: BaseException) -> None:
        """Report the exception that ended the job: its stage, its type and whether it was a forbidden act."""
        forbidden = isinstance(error, OSError) and error.errno in _FORBIDDEN_ERRNO
        self.put(b"E", encode((stage, str(type(error).__name__)[:80], forbidden)))


def run_calls(job: Job, calls: Iterable[tuple], out: Frames) -> None:
    """Execute the source, call its entry point on each input, and send each output."""
    space: dict[str, Any] = {}
    try:
        code = compile(job["source"], "<sample>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return out.error("compile", error)
    try:
        exec(code, space)  # noqa: S102 - this is what the sandbox is for
        function = space[job["entry_point"]]
    except BaseException as error:  # noqa: BLE001
        return out.error("load", error)
    times = array.array("d")
    try:
        _call_all(job, function, calls, out, times)
    except BaseException as error:  # noqa: BLE001
        out.error("call", error)
    else:
        out.put(b"D")
    if times:
        out.put(b"T", times.tobytes())
    return None


def _call_all(job: Job, function: Callable, calls: Iterable[tuple], out: Frames, times: array.array) -> None:
    """Call the function on each input; each call, though not the sending of its output, has its own time limit."""
    usual, longer = job["each_s"], job["longer_s"]
    clock, arm, timed = time.process_time, signal.setitimer, job["timed"]
    finish = _materialize if job["iterate"] else _as_is
    for at, (args, kwargs) in enumerate(calls):
        if limit := longer.get(at, usual):
            arm(signal.ITIMER_PROF, limit)
        started = clock() if timed else 0.0
        value = finish(function(*args, **kwargs))
        if timed == "call":
            times.append(clock() - started)
        if limit:
            arm(signal.ITIMER_PROF, 0.0)
        out.value(value, job["whole"])
        if timed == "output":  # a long output takes its time to send, which counts in the wall time allowed
            times.append(clock() - started)
        del value  # it may be large


def _as_is(value: Any) -> Any:
    return value


def _materialize(value: Any) -> Any:
    """Turn an iterator into a list: oracles that compare as sets accept any iterable."""
    return list(value) if hasattr(type(value), "__iter__") and not hasattr(type(value), "__getitem__") else value


def run_check(job: Job, calls: Iterable[tuple], out: Frames) -> None:
    """Run the benchmark's own test on known outputs (no generated code here), or record what it calls.

    Sends the compiled program (when it was not given), the arguments of each call beyond the known outputs, and, when
    recording, the canonical solution's output and time.
    """
    space: dict[str, Any] = {}
    try:
        if job["code"] is None:
            code = compile(job["source"], "<test>", "exec", dont_inherit=True)
            out.put(b"C", marshal.dumps(code))
        else:
            code = marshal.loads(job["code"])  # noqa: S302 - sent by the grader, made by this function
        exec(code, space)  # noqa: S102
        random.seed(0)
        space["check"](_candidate(job, list(calls), space, out))
    except _Beyond:
        out.put(b"B")
    except AssertionError as error:
        out.error("assert", error)
    except BaseException as error:  # noqa: BLE001
        out.error("test", error)
    else:
        out.put(b"D")


def _candidate(job: Job, calls: list[tuple], space: dict[str, Any], out: Frames) -> Callable:
    outputs: list[bytes] = job["outputs"]
    reference = space[job["entry_point"]]
    counter = itertools.count()
    clock = time.process_time

    def candidate(*args: Any, **kwargs: Any) -> Any:
        number = next(counter)
        asked = encode((args, kwargs))
        out.put(b"N")
        if number < len(outputs):
            if asked != encode(calls[number]):
                out.put(b"A", asked)
                raise _Beyond
            known = outputs[number]
            return reference(*args, **kwargs) if is_digest(known) else decode(known)
        out.put(b"A", asked)
        if not job["record"]:
            raise _Beyond
        started = clock()
        value = reference(*args, **kwargs)
        out.put(b"t", struct.pack("<d", clock() - started))
        out.value(value)
        return value

    return candidate


JOBS: dict[str, Callable[[Job, Iterable[tuple], Frames], None]] = {"calls": run_calls, "check": run_check}
