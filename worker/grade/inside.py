"""The process inside the sandbox: a warm interpreter that forks once per job.

The server holds imported modules and one socket, never a solution, a test or an expected output: the forked child
reads its job from a file descriptor, limits itself, installs the system call filter, runs, and writes frames to a pipe.
The server reports how the child ended and whether it left files behind; it kills the child when told to.

Does not protect itself from a child by trust, but by the kernel: no /proc, no debugging (it is not dumpable), no
signals to others and no new processes (the filter). It does not judge anything.
"""

import array
import contextlib
import ctypes
import gc
import importlib
import itertools
import marshal
import math
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from worker.grade.wire import brief, decode, encode, is_digest

WARM = [
    "abc",
    "array",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "queue",
    "random",
    "re",
    "statistics",
    "string",
    "sys",
    "textwrap",
    "threading",
    "time",
    "typing",
    "unicodedata",
    "numpy",
]
HEAD = struct.Struct("<cI")  # a frame: its kind and the size of what follows
_FLUSH_BYTES = 16_384
_FLUSH_S = 0.02
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_FORBIDDEN_ERRNO = frozenset({1, 13, 30})  # EPERM, EACCES, EROFS


class _Beyond(BaseException):
    """The test calls the candidate more often, or otherwise, than outputs are known."""


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


# --- jobs, in the child --------------------------------------------------------------------------------------


def run_calls(job: dict[str, Any], calls: list[tuple], out: Frames) -> None:
    """Execute the source, call its entry point on each input, and send each output."""
    space: dict[str, Any] = {}
    try:
        code = compile(job["source"], "<sample>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return out.error("compile", error)
    try:
        exec(code, space)  # noqa: S102 - this is what the sandbox is for
        function = space[job["entry_point"]]
    except BaseException as error:
        return out.error("load", error)
    limits = job["each_s"] or itertools.repeat(0.0)
    times = array.array("d")
    clock, arm, timed = time.process_time, signal.setitimer, job["timed"]
    finish = _materialize if job["iterate"] else _as_is
    try:
        for limit, (args, kwargs) in zip(limits, calls, strict=False):
            if limit:
                arm(signal.ITIMER_PROF, limit)
            started = clock() if timed else 0.0
            value = finish(function(*args, **kwargs))
            if timed:
                times.append(clock() - started)
            if limit:
                arm(signal.ITIMER_PROF, 0.0)
            out.value(value, job["whole"])
    except BaseException as error:
        out.error("call", error)
    else:
        out.put(b"D")
    if timed:
        out.put(b"T", times.tobytes())
    return None


def _as_is(value: Any) -> Any:
    return value


def _materialize(value: Any) -> Any:
    """Turn an iterator into a list: oracles that compare as sets accept any iterable."""
    return list(value) if hasattr(type(value), "__iter__") and not hasattr(type(value), "__getitem__") else value


def run_check(job: dict[str, Any], calls: list[tuple], out: Frames) -> None:
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
        space["check"](_candidate(job, calls, space, out))
    except _Beyond:
        out.put(b"B")
    except AssertionError as error:
        out.error("assert", error)
    except BaseException as error:
        out.error("test", error)
    else:
        out.put(b"D")


def _candidate(job: dict[str, Any], calls: list[tuple], space: dict[str, Any], out: Frames) -> Callable:
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


_JOBS: dict[str, Callable[[dict[str, Any], list[tuple], Frames], None]] = {"calls": run_calls, "check": run_check}


def _run_job(job_fd: int, calls_fd: int, result_fd: int, confine: Callable[[], None]) -> NoReturn:
    status = 1
    try:
        job = marshal.loads(_read_all(job_fd))  # noqa: S302 - sent by the grader
        calls = marshal.loads(_read_all(calls_fd))  # noqa: S302 - sent by the grader
        os.close(job_fd)
        os.close(calls_fd)
        frames = Frames(result_fd)
        _limit(job)
        confine()
        run = _JOBS[job["kind"]]
        source = {**job}
        job.clear()
        run(source, calls, frames)
        frames.flush()
        status = 0
    except BaseException:
        status = 70  # whatever happened, this process ends here and says so by its status
    os._exit(status)


def _limit(job: dict[str, Any]) -> None:
    cpu = math.ceil(job["cpu_s"])
    limits = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_DATA: (job["memory_bytes"],) * 2,
        resource.RLIMIT_AS: (2 * job["memory_bytes"],) * 2,
        resource.RLIMIT_FSIZE: (job["file_bytes"],) * 2,
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
    }
    for which, (soft, hard) in limits.items():
        most = resource.getrlimit(which)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(which, (soft, hard))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    if job["first_limit"]:
        signal.setitimer(signal.ITIMER_PROF, job["first_limit"])


def _read_all(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    pieces = []
    while size > sum(map(len, pieces)):
        pieces.append(os.pread(fd, size, sum(map(len, pieces))))
    return b"".join(pieces)


# --- the server ----------------------------------------------------------------------------------------------


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _prctl(option: int, value: Any, more: Any = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, more, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def _confinement(steps: bytes) -> Callable[[], None]:
    program = _FilterProgram(len(steps) // 8, steps)

    def confine() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))

    return confine


def serve(control: socket.socket, scratch: str) -> None:
    """Fork a child per job until the other side closes the socket."""
    control.send(b"ready")
    confine = _confinement(control.recv(65536))
    while True:
        message, fds, _, _ = socket.recv_fds(control, 16, 3)
        if not message:
            return
        if message == b"run" and len(fds) == 3:
            pid = os.fork()
            if pid == 0:
                control.close()
                _run_job(*fds, confine)
            for fd in fds:
                os.close(fd)
            status, usage = _wait(pid, control)
            code = os.waitstatus_to_exitcode(status)
            left = bool(os.listdir(scratch))
            cpu = usage.ru_utime + usage.ru_stime
            control.send(marshal.dumps((code, cpu, usage.ru_maxrss, left)))


def _wait(pid: int, control: socket.socket) -> tuple[int, resource.struct_rusage]:
    with _pidfd(pid) as child:
        poll = select.poll()
        poll.register(child, select.POLLIN)
        poll.register(control, select.POLLIN)
        while not any(fd == child for fd, _ in poll.poll()):
            if control.recv(16) in {b"kill", b""}:
                os.kill(pid, signal.SIGKILL)
                break
    _, status, usage = os.wait4(pid, 0)
    return status, usage


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def main(address: str, scratch: str) -> None:
    """Connect to the grader (an inherited descriptor's number, or a socket's path), warm up and serve."""
    if address.isdigit():
        control = socket.socket(fileno=int(address))
    else:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.connect(address)
    for name in WARM:
        importlib.import_module(name)
    os.chdir(scratch)
    _prctl(_PR_SET_DUMPABLE, 0)
    sys.argv[:] = [""]
    gc.collect()
    gc.freeze()
    with control:
        serve(control, scratch)
    os._exit(0)
