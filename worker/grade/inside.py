"""The process inside the sandbox: a warm interpreter that forks once per job.

The server holds imported modules and one socket, never a solution, a test or an expected output: the forked child
reads its job from a file descriptor, limits itself, installs the system call filter, runs, and writes frames to a pipe.
The server reports how the child ended and whether it left files behind; it kills the child when told to.

Does not protect itself from a child by trust, but by the kernel: no /proc, no debugging (it is not dumpable), no
signals to others and no new processes (the filter). It does not judge anything.

One more child, just as confined, parses sources and runs none (parsing.py); no process of a sample is forked from it.
"""

import contextlib
import ctypes
import gc
import importlib
import marshal
import math
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from worker.grade.jobs import JOBS, Frames, unpack_calls
from worker.grade.parsing import CPU_S, MEMORY_BYTES, parse_sources
from worker.grade.wire import decode

WARM = """abc array bisect calendar cmath collections copy dataclasses datetime decimal enum fractions functools hashlib
heapq itertools json math numbers operator queue random re statistics string sys textwrap threading time typing
unicodedata numpy"""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_PRIVATE = "/tmp"  # noqa: S108 - inside a sandbox with its own
_MAX_FILES = 1000
_LIBC = ctypes.CDLL(None, use_errno=True)  # once a server: in every child it took a third of a millisecond
_TICK_MS = 50


def _run_job(fds: list[int], confine: Callable[[], None]) -> NoReturn:
    job_fd, calls_fd, result_fd = fds
    status = 1
    try:
        job = marshal.loads(_read_all(job_fd))  # noqa: S302 - sent by the grader
        data = _read_all(calls_fd)
        calls = decode(data) if job["tagged"] else unpack_calls(data)
        os.close(job_fd)
        os.close(calls_fd)
        os.dup2(1, 2)  # what it prints goes nowhere: the server's own log is a file
        frames = Frames(result_fd)
        _limit(job)
        confine()
        JOBS[job["kind"]](job, calls, frames)
        frames.flush()
        status = 0
    except BaseException:  # noqa: BLE001
        status = 70  # whatever happened, this process ends here and says so by its status
    os._exit(status)


def _run_parser(fd: int, confine: Callable[[], None]) -> NoReturn:
    try:
        os.dup2(1, 2)
        _limit({"cpu_s": CPU_S, "memory_bytes": MEMORY_BYTES, "file_bytes": 0, "first_limit": 0.0})
        confine()
        parse_sources(fd)
    finally:
        os._exit(0)  # whatever happened: the grader sees only whether there was an answer


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
    for which, wanted in limits.items():
        most = resource.getrlimit(which)[1]
        bounded = wanted if most == resource.RLIM_INFINITY else tuple(min(value, most) for value in wanted)
        resource.setrlimit(which, bounded)  # type: ignore[arg-type]
    if job["first_limit"]:
        signal.setitimer(signal.ITIMER_PROF, job["first_limit"])


def _read_all(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    while len(data) < size:
        data += os.pread(fd, size - len(data), len(data))
    return data


# --- the server ----------------------------------------------------------------------------------------------


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _prctl(option: int, value: Any, more: Any = 0) -> None:
    if _LIBC.prctl(option, value, more, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def _confinement(steps: bytes) -> Callable[[], None]:
    program = _FilterProgram(len(steps) // 8, steps)

    def confine() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))

    return confine


def serve(control: socket.socket, scratch: str) -> None:
    """Fork a child per job until the other side closes the socket."""
    control.send(b"ready")
    confine = _confinement(control.recv(65536))
    parser = 0
    while True:
        message, fds, _, _ = socket.recv_fds(control, 16, 3)
        if not message:
            return
        if message == b"parse" and len(fds) == 1:
            parser = _replace_parser(parser, fds[0], control, confine)
        if message == b"run" and len(fds) == 3:
            pid = os.fork()
            if pid == 0:
                control.close()
                _run_job(fds, confine)
            for fd in fds:
                os.close(fd)
            littered = _supervise(pid, control, scratch)
            _, status, usage = os.wait4(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            with os.scandir(scratch) as found:
                left = any(found)
            cpu = usage.ru_utime + usage.ru_stime
            control.send(marshal.dumps((code, cpu, usage.ru_maxrss, left, littered)))


def _replace_parser(before: int, fd: int, control: socket.socket, confine: Callable[[], None]) -> int:
    """End the parsing process, if there is one, and fork another."""
    if before:
        os.kill(before, signal.SIGKILL)
        os.waitpid(before, 0)
    pid = os.fork()
    if pid == 0:
        control.close()
        _run_parser(fd, confine)
    os.close(fd)
    return pid


def _supervise(pid: int, control: socket.socket, scratch: str) -> bool:
    """Name the child to the grader, and stay until it ends or is killed; tell whether it was, for too many files."""
    files = _files_in(scratch)
    with _pidfd(pid) as child:
        socket.send_fds(control, [b"child"], [child])
        poll = select.poll()
        poll.register(child, select.POLLIN)
        poll.register(control, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(_TICK_MS)}
            littered = not ready and _files_in(scratch) - files > _MAX_FILES
            if littered or (control.fileno() in ready and control.recv(16) in {b"kill", b""}):
                os.kill(pid, signal.SIGKILL)
                return littered
            if child in ready:
                return False


def _files_in(scratch: str) -> int:
    """Return how many files the private /tmp holds: each takes kernel memory, which no limit of a process counts."""
    if scratch != _PRIVATE:
        return 0
    counts = os.statvfs(scratch)
    return counts.f_files - counts.f_ffree


def _nothing() -> None:
    pass


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
    for name in WARM.split():
        importlib.import_module(name)
    os.chdir(scratch)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)  # children inherit it
    # This process has one thread, so there is nothing to set right in a child, and a hundred pages to copy for it.
    threading._after_fork.__code__ = _nothing.__code__  # type: ignore[attr-defined]
    _prctl(_PR_SET_DUMPABLE, 0)
    sys.argv[:] = [""]
    gc.collect()
    gc.freeze()
    with control:
        serve(control, scratch)
    os._exit(0)
