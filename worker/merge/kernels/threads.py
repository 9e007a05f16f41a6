"""Threads on a CPU: one inside an operation, several jobs side by side.

torch's own threads meet after every operation; on a machine that does something else as well each meeting waits for the
scheduler. Jobs that last longer than an operation meet once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone, and in each thread that begins meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side[J, T](work: Callable[[J], T], jobs: Iterable[J]) -> list[T]:
    """Return what `work` gives for each job, in as many threads as torch may use; jobs are taken not far ahead."""
    threads = torch.get_num_threads()
    running: deque[Future[T]] = deque()
    done: list[T] = []
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        for job in jobs:
            running.append(pool.submit(work, job))
            if len(running) > 2 * threads:
                done.append(running.popleft().result())
        return done + [future.result() for future in running]
