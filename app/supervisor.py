"""Keeps the processes of one machine running: each in its own process group, logged to its own file, started again
after a pause when it dies. It does not protect from a process that hangs: heartbeats in the database do.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import OperatorError

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
# A process that lived this long counts as having started well.
HEALTHY_S = 20.0
QUICK_DEATHS = 5
GRACE_S = 12.0
LOG_LIMIT = 20 * 1024 * 1024
LOG_TAIL = 1500


@dataclass(frozen=True)
class Program:
    """A module to run as a process."""

    name: str
    module: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[int, ...] = ()


class Supervisor:
    """Runs programs until it is stopped. `say` is told what an operator wants to know."""

    def __init__(self, log_dir: Path, say: Callable[[str], None]) -> None:
        self._log_dir = log_dir
        self._say = say
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def start(self, program: Program) -> None:
        """Keep a program running from now on."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._tasks.append(asyncio.create_task(self._keep(program)))

    def look_after(self, keeping: Coroutine[None, None, None]) -> None:
        """Count on something else that is kept running until it ends with an OperatorError, too."""
        self._tasks.append(asyncio.create_task(keeping))

    async def watch(self) -> None:
        """Wait until a program could not be kept running, and raise its OperatorError."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """End all processes: ask them first, then make them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(p) for p in self._processes.values()))

    def log_of(self, name: str) -> Path:
        """Return the file that a program logs to."""
        return self._log_dir / f"{name}.log"

    async def _keep(self, program: Program) -> None:
        quick, pause = 0, FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            process = await self._spawn(program)
            code = await process.wait()
            if time.monotonic() - began > HEALTHY_S:
                quick, pause = 0, FIRST_PAUSE_S
            quick += 1
            # Whatever the process had started must not outlive it.
            _signal_group(process.pid, signal.SIGKILL)
            if quick >= QUICK_DEATHS:
                raise OperatorError(
                    f"The {program.name} process ended {quick} times soon after its start:\n{self._tail(program.name)}",
                    fix=f"Its whole log is {self.log_of(program.name)}.",
                )
            self._say(f"The {program.name} process ended ({_ending(code)}); starting it again in {pause:.0f} s.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _spawn(self, program: Program) -> asyncio.subprocess.Process:
        log = self.log_of(program.name)
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.tethered", str(os.getpid()), program.module, *program.arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
                env=dict(program.environment), pass_fds=program.inherit,
            )  # fmt: skip
        self._processes[program.name] = process
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_S)
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()

    def _tail(self, name: str) -> str:
        return self.log_of(name).read_text(errors="replace")[-LOG_TAIL:].strip()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
