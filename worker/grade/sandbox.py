"""One sandboxed server and the jobs it runs: the grader's end of the control socket and of the result pipes."""

import contextlib
import fcntl
import marshal
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import OperatorError
from worker.grade.jobs import HEAD
from worker.grade.limits import Bounds, Options
from worker.grade.seccomp import sample_filter, server_filter
from worker.grade.tiers import Launch, Tier, command
from worker.grade.watch import TICK_S, Watch, pid_of

_START_S = _REPORT_S = 120.0  # of a machine that does nothing else but swap
_READ = 1 << 16


class SandboxDiedError(OperatorError):
    """The sandbox ended by itself."""


class ViolationError(Exception):
    """The job wrote something that is not a frame, or too much."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job's process ended: its exit code (negative: the signal), CPU seconds, peak memory, files left behind.

    `littered`: it was killed because it made too many files.
    """

    code: int
    cpu_s: float
    peak_kb: int
    left_files: bool
    littered: bool


def sealed(data: bytes) -> int:
    """Return a descriptor of an anonymous file that nobody can change any more."""
    fd = os.memfd_create("grade", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


class Sandbox:
    """A warm server in its tier. Started on first use, replaced when a job left something behind. Not thread-safe.

    With bubblewrap the sandbox dies with the thread that started it.
    """

    def __init__(self, tier: Tier, options: Options) -> None:
        self._tier: Tier = tier
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._home: Path | None = None

    def start(self) -> socket.socket:
        """Return the control socket of a server that is ready.

        Raises:
            OperatorError: the tier can't be used on this machine; the message says why.
        """
        if self._control is not None:
            return self._control
        self._home = Path(tempfile.mkdtemp(prefix="grade-"))
        (self._home / "scratch").mkdir()
        with (self._home / "stderr").open("wb") as errors:
            try:
                control = self._connect(errors.fileno())
                control.settimeout(_START_S)
                ready = control.recv(16) == b"ready"
            except OSError as error:
                self.close()
                raise OperatorError(f"The {self._tier} sandbox can't be started: {error}") from error
        if not ready:
            said = (self._home / "stderr").read_text(errors="replace").strip()[-400:]
            control.close()
            self.close()
            raise OperatorError(
                f"The {self._tier} sandbox did not start: {said or 'it ended without a word'}.",
                fix="`research-agent doctor` says which tiers work here; another tier must be chosen by name.",
            )
        control.send(sample_filter())
        self._control = control
        return control

    def _connect(self, errors: int) -> socket.socket:
        assert self._home is not None
        filter_fd = sealed(server_filter())
        os.lseek(filter_fd, 0, os.SEEK_SET)
        scratch = self._home / "scratch"
        bounds = self._options.limits.scratch_bytes
        if self._tier == "container":
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                address = str(self._home / "control")
                listener.bind(address)
                listener.listen(1)
                listener.settimeout(_START_S)
                self._spawn(Launch(address, scratch, bounds, filter_fd, self._options.image), errors, ())
                os.close(filter_fd)
                return self._accept(listener)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            launch = Launch(str(theirs.fileno()), scratch, bounds, filter_fd)
            self._spawn(launch, errors, (theirs.fileno(), filter_fd))
        os.close(filter_fd)
        return ours

    def _accept(self, listener: socket.socket) -> socket.socket:
        """Wait for the server to connect; a program that ends before it does leaves an empty socket."""
        deadline = time.monotonic() + _START_S
        listener.settimeout(0.2)
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                return listener.accept()[0]
            except TimeoutError:
                continue
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.close()
        return ours

    def _spawn(self, launch: Launch, errors: int, fds: tuple[int, ...]) -> None:
        line, environment = command(self._tier, launch)
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            line, stdin=null, stdout=null, stderr=errors, env=environment, pass_fds=fds, cwd=launch.scratch
        )

    def run(self, job: dict[str, Any], calls_fd: int) -> "Execution":
        """Start a job; read its frames, then ask for its ending."""
        control = self.start()
        job_fd = sealed(marshal.dumps(job))
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            socket.send_fds(control, [b"run"], [job_fd, calls_fd, writing])
        except OSError as error:
            os.close(reading)
            self.close()
            raise SandboxDiedError from error
        finally:
            os.close(job_fd)
            os.close(writing)
        return Execution(self, control, reading)

    def close(self) -> None:
        """End the server and everything in it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._home is not None:
            with contextlib.suppress(RecursionError):  # folders in folders, without end
                shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Execution:
    """One running job. Leaving the context kills what still runs and waits for its end."""

    def __init__(self, sandbox: Sandbox, control: socket.socket, reading: int) -> None:
        self._sandbox = sandbox
        self._control = control
        self._reading = reading
        self._pid: int | None = None
        self._ending: Ending | None = None

    def frames(self, bounds: Bounds) -> Iterator[tuple[bytes, bytes]]:
        """Yield the job's frames as they come, until it ends.

        Raises:
            ViolationError: more bytes than it may send.
            StalledError, CrowdedError, BloatedError: another of its bounds is reached.
            SandboxDiedError: the server is gone.
        """
        held = bytearray()
        poll = select.poll()
        poll.register(self._reading, select.POLLIN | select.POLLHUP)
        received = 0
        watch = Watch(self._child(), bounds)
        while True:
            ready = bool(poll.poll(TICK_S * 1000))
            watch.look(progress=ready)
            if not ready:
                continue
            data = os.read(self._reading, _READ)
            if not data:
                return
            held += data
            received += len(data)
            if received > bounds.sent_bytes:
                raise ViolationError("too much output")
            at = 0
            while len(held) - at >= HEAD.size:
                kind, size = HEAD.unpack_from(held, at)
                if size > bounds.frame_bytes:
                    raise ViolationError("too large an output")
                if len(held) - at - HEAD.size < size:
                    break
                at += HEAD.size + size
                yield kind, bytes(held[at - size : at])
            del held[:at]

    def _child(self) -> int:
        """Return the job's process as it is called here (0: not to be seen), which the server names first of all."""
        if self._pid is None:
            _, pidfd = self._receive()
            self._pid = pid_of(pidfd) if pidfd >= 0 else 0
            if pidfd >= 0:
                os.close(pidfd)
        return self._pid

    def _receive(self) -> tuple[bytes, int]:
        """Return the server's next message and the descriptor that came with it, or -1."""
        try:
            self._control.settimeout(_REPORT_S)
            message, fds, _, _ = socket.recv_fds(self._control, 256, 1)
        except OSError as error:
            self._sandbox.close()
            raise SandboxDiedError from error
        if not message:
            self._sandbox.close()
            raise SandboxDiedError
        return message, fds[0] if fds else -1

    def end(self) -> Ending:
        """Kill the job if it still runs, and return how it ended.

        Raises:
            SandboxDiedError: the server is gone.
        """
        if self._ending is None:
            os.close(self._reading)
            self._child()
            try:
                self._control.send(b"kill")
            except OSError as error:
                self._sandbox.close()
                raise SandboxDiedError from error
            report, _ = self._receive()
            self._ending = Ending(*marshal.loads(report))  # noqa: S302 - sent by our server
            if self._ending.left_files:
                self._sandbox.close()
        return self._ending

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
