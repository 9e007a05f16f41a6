"""What a job's process does, seen from outside by the kernel's account: it computes, waits for a processor, or sleeps.

A busy machine must not change a verdict, so only sleep counts against a job's patience. Waiting for a processor does
not, and computing is limited by CPU time elsewhere. Also sees what no resource limit covers: the number of threads, and
memory shared with itself.

Where the process can't be seen (a container on another host, no /proc), only the wall clock is left, and counts less.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from worker.grade.limits import Bounds

TICK_S = 0.05
_BLIND = 10.0  # how much longer the wall clock alone must show no progress
_BACKSTOP = 40.0  # times the limit, and at least this many seconds: beyond it, no machine is that busy
_BACKSTOP_S = 300.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_BUSY = frozenset(b"RD")  # runs or waits for a processor; waits for a disk


class StalledError(Exception):
    """The job slept for longer than it may."""


class CrowdedError(Exception):
    """The job has more threads than it may."""


class BloatedError(Exception):
    """The job holds more memory than it may."""


class Watch:
    """Keeps a job within its bounds; look at it after each wait, however short."""

    def __init__(self, pid: int, bounds: Bounds) -> None:
        self._stat = Path("/proc", str(pid), "stat") if pid > 0 else None
        self._bounds = bounds
        self._started = self._looked = time.monotonic()
        self._stalled = self._asleep = 0.0

    def look(self, *, progress: bool) -> None:
        """Look at the process, at most once a tick; `progress`: it has sent something since the last time.

        Raises:
            StalledError: it sleeps, or has taken far too long.
            CrowdedError: too many threads.
            BloatedError: too much memory.
        """
        if progress:
            self._stalled = 0.0
        now = time.monotonic()
        passed = now - self._looked
        if passed < TICK_S:
            return
        self._looked = now
        asleep = self._asleep_for(passed)
        self._stalled += asleep
        self._asleep += asleep
        bounds = self._bounds
        endless = now - self._started > max(_BACKSTOP * bounds.asleep_s, _BACKSTOP_S)
        if endless or self._stalled > bounds.stall_s or self._asleep > bounds.asleep_s:
            raise StalledError

    def _asleep_for(self, passed: float) -> float:
        """Return how much of the time that passed the process surely slept; that we looked late is not its fault."""
        try:
            fields = self._stat.read_bytes().rpartition(b")")[2].split() if self._stat else []
        except OSError:
            fields = []
        if not fields:
            return min(passed, 2 * TICK_S) / _BLIND
        state, threads, pages = fields[0], int(fields[17]), int(fields[21])
        if threads > self._bounds.threads:
            raise CrowdedError
        if pages * _PAGE > self._bounds.memory_bytes:
            raise BloatedError
        busy = state[0] in _BUSY or (threads > 1 and any(state in _BUSY for state in self._states()))
        return 0.0 if busy else min(passed, 2 * TICK_S)

    def _states(self) -> Iterator[int]:
        assert self._stat is not None
        with contextlib.suppress(OSError):
            for stat in self._stat.parent.glob("task/*/stat"):
                yield stat.read_bytes().rpartition(b")")[2].split()[0][0]


def pid_of(pidfd: int) -> int:
    """Return a process's id here, from its descriptor; 0 where it can't be seen."""
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [int(line.split()[1]) for line in lines if line.startswith("Pid:")]
    return max(0, *found) if found else 0
