"""The child process in which a worker computes, so that a job can be killed with all that it started.

The parent talks to it over a pipe: a job's payload goes in; progress, a result or an error come back. The child keeps
models warm between jobs. It leads its own process group and ends when its parent does.
"""

import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from core.errors import ResearchAgentError
from core.settings import Settings
from core.types.job import JobPayload, JobResult

log = logging.getLogger(__name__)

Report = Callable[[int, int], None]


class Perform(Protocol):
    """What does jobs: called once a job, in the child."""

    def __call__(self, payload: JobPayload, report: Report) -> JobResult:
        """Do a job, reporting `done` of `total` items now and then."""
        ...


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    done: int
    total: int


@dataclass(frozen=True)
class Failure:
    """Why a job has no result, in words for the run's reader."""

    message: str


Answer = Progress | Failure | JobResult


def _end_with_parent() -> None:
    """Kill the own process group as soon as the parent is gone, whatever this process is computing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.killpg(0, signal.SIGKILL)


def _serve(pipe: Connection, maker: str, settings: Settings) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    module, _, name = maker.partition(":")
    perform: Perform = getattr(importlib.import_module(module), name)(settings)
    while True:
        payload: JobPayload = pipe.recv()
        pipe.send(_answer(perform, payload, lambda done, total: pipe.send(Progress(done, total))))


def _answer(perform: Perform, payload: JobPayload, report: Report) -> Answer:
    try:
        return perform(payload, report)
    except ResearchAgentError as error:
        log.warning("job failed: %s", error)
        return Failure(str(error))
    except Exception as error:
        # The edge of the process: the job fails visibly and the worker goes on.
        log.exception("job failed by an internal error")
        return Failure(f"internal error in the worker ({type(error).__name__}); its log has the details")


class Child:
    """A child process, started when first needed and again after it was killed.

    `maker` is the dotted name of what makes a `Perform` from settings: only the child imports it, and torch with it.
    """

    def __init__(self, maker: str, settings: Settings) -> None:
        self._maker = maker
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._pipe: Connection | None = None
        self._busy = False

    def send(self, payload: JobPayload) -> None:
        """Hand over a job; one whose answer nobody waited for is stopped, so that it can't pass for this one's."""
        if self._busy:
            self.kill()
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._pipe is not None
        self._busy = True
        self._pipe.send(payload)

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, self._maker, self._settings), daemon=False)
        self._process.start()
        theirs.close()

    def receive(self, timeout_s: float) -> Answer | None:
        """Return what the child says within some seconds, or None; raise EOFError when it has died."""
        assert self._pipe is not None
        try:
            answer: Answer | None = self._pipe.recv() if self._pipe.poll(timeout_s) else None
        except ConnectionResetError as error:
            raise EOFError from error
        self._busy = answer is None or isinstance(answer, Progress)
        return answer

    def how_it_died(self) -> str:
        """Return the exit of a dead child in words."""
        self._process.join(timeout=5)
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = ", probably for lack of memory" if name == "SIGKILL" else ""
            return f"the worker's process was ended by {name}{hint}"
        return f"the worker's process ended with exit code {code}"

    def kill(self) -> None:
        """End the child and everything that it started."""
        if self._process is None:
            return
        if self._process.is_alive():
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()
        self._process.join(timeout=10)
        self._process, self._busy = None, False
