"""A grading pool in a process of its own: its threads never hold the interpreter that generation needs.

Decoding beside a GPU takes half an interpreter's time for bookkeeping, and a dozen grading threads in the same one get
to work only when it ends. Samples go to the process over a socket and verdicts come back; it ends with its caller.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from core.errors import OperatorError, ResearchAgentError
from worker.grade.limits import Options
from worker.grade.pool import Graded, GradePool, Sample
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.grade.tiers import Tier

_END_S = 20.0  # for its sandboxes to be closed and their folders removed
# Not `-m`: what is pickled must be of this module, not of `__main__`.
_PROGRAM = "from worker.grade.apart import main; main()"


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a `GradePool` is made of."""

    problems: tuple[CodeProblem, ...]
    mode: Mode
    tier: Tier
    workers: int | None
    options: Options


@dataclass(frozen=True, slots=True)
class _Done:
    """All samples of a call have their verdicts; what grading a problem costs, by task."""

    costs: Mapping[str, float]


class ApartPool:
    """A `GradePool` elsewhere: a context manager, or started and closed; safe for one `grade` at a time."""

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._pipe: Connection | None = None
        self._sender: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def start(self) -> Self:
        """Start the process and its sandboxes; raise what starting them raises there."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            program = [sys.executable, "-c", _PROGRAM, str(theirs.fileno())]
            self._process = subprocess.Popen(program, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self._pipe = Connection(os.dup(self._socket.fileno()))
        try:
            self._pipe.send(self.spec)
            self._receive()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and its sandboxes; doing it again changes nothing."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits on it, here and there
            self._socket.close()
        if self._sender is not None:
            self._sender.join()
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._socket = self._sender = self._pipe = self._process = None

    def grade(self, samples: Iterable[Sample]) -> Iterator[Graded]:
        """Yield verdicts as they are reached, while `samples` is still being read (in a thread of its own).

        Raises what `GradePool.grade` raises, and OperatorError when the process dies.
        """
        if self._pipe is None:
            raise OperatorError("The grading pool is closed.", fix="Use it as a context manager.")
        failed: list[BaseException] = []
        self._sender = threading.Thread(target=self._send, args=(samples, failed), name="grade-sender", daemon=True)
        self._sender.start()
        while isinstance(found := self._receive(), Graded):
            yield found
        self._sender.join()
        if failed:
            raise failed[0]
        if isinstance(found, _Done):
            self.spec.options.costs.update(found.costs)

    def _send(self, samples: Iterable[Sample], failed: list[BaseException]) -> None:
        assert self._pipe is not None
        pipe = self._pipe
        try:
            for sample in samples:
                pipe.send(sample)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)  # the caller's source failed: raised where the caller reads
        with contextlib.suppress(OSError):  # the process is gone: seen where verdicts are read
            pipe.send(None)

    def _receive(self) -> object:
        assert self._pipe is not None
        assert self._process is not None
        try:
            found: object = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise OperatorError(
                "The grading process ended by itself.", fix="Its messages are in the worker's log; memory may be short."
            ) from error
        if isinstance(found, BaseException):
            raise found
        return found


def serve(pipe: Connection) -> None:
    """Grade what comes over the pipe until the other end closes it."""
    spec: PoolSpec = pipe.recv()
    try:
        with GradePool(spec.problems, spec.mode, spec.tier, spec.workers, spec.options) as pool:
            pipe.send("ready")
            while True:
                for graded in pool.grade(iter(pipe.recv, None)):
                    pipe.send(graded)
                pipe.send(_Done(spec.options.costs))
    except ResearchAgentError as error:
        pipe.send(error)


def main() -> None:
    """Serve the pipe whose descriptor is named; its other end closing is the way to end."""
    try:
        serve(Connection(int(sys.argv[1])))
    except (EOFError, OSError):
        sys.exit(0)


if __name__ == "__main__":
    main()
