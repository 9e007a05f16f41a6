"""What a sandbox uses, watched from outside, for tiers that have no kernel accounting of their own.

Sampled: a burst between two looks can overshoot a limit for a moment. What is over is ended whole, not throttled.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from agents.sandbox.port import Ending, Limits

INTERVAL_S = 0.1
DISK_EVERY = 10


def tree(pid: int) -> Sequence[psutil.Process]:
    """Return a process with all that it started; empty where it is gone."""
    try:
        root = psutil.Process(pid)
        return (root, *root.children(recursive=True))
    except psutil.NoSuchProcess:
        return ()


def memory_mb(processes: Sequence[psutil.Process]) -> float:
    """Return the resident memory of processes, shared pages counted once a process."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def disk_mb(folder: Path) -> float:
    """Return the space that a folder's files take; links are not followed."""
    total = 0
    for where, _, names in os.walk(folder, followlinks=False):
        for name in names:
            try:
                total += (Path(where) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total / 2**20


def over(pid: int, limits: Limits) -> Ending | None:
    """Return which limit a tree of processes is over, if any."""
    processes = tree(pid)
    if len(processes) > limits.processes:
        return Ending.PROCESSES
    if memory_mb(processes) > limits.memory_mb:
        return Ending.MEMORY
    return None


async def until_over(pid: int, workspace: Path, limits: Limits, seconds: float) -> Ending:
    """Return when a limit is passed, with the limit; for as long as none is, it does not return."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    look = 0
    while True:
        if loop.time() >= deadline:
            return Ending.TIME
        found = over(pid, limits)
        if found is None and look % DISK_EVERY == 0 and await asyncio.to_thread(disk_mb, workspace) > limits.disk_mb:
            found = Ending.DISK
        if found is not None:
            return found
        look += 1
        await asyncio.sleep(min(INTERVAL_S, max(0.0, deadline - loop.time())))
