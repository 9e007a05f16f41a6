"""Threads on a CPU: one inside an operation, several jobs side by side.

torch's own threads meet after every operation; on a machine that does something else as well each meeting waits for the
scheduler. Jobs that last longer than an operation meet once, at the end of `lanes`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from threading import BoundedSemaphore
from typing import Any

import torch

_AHEAD = 3  # jobs a thread, the one it works on included: what they hold is held at once


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone, and in each thread that begins meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def lanes() -> Iterator[None]:
    """Let `later` run jobs beside the caller, in as many threads as torch may use; end when all of them have ended.

    Raises:
        Exception: what a job raised; no more are begun after it.
    """
    threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        mine = _Lanes(pool, threads * _AHEAD)
        token = _LANES.set(mine)
        try:
            yield
            mine.finish()
        finally:
            _LANES.reset(token)
            pool.shutdown(cancel_futures=True)


def later[T](work: Callable[..., T], *given: Any, **named: Any) -> Future[T]:
    """Begin a job in the caller's `lanes`, in turn; without any, or from inside a job, do it now.

    A job may wait for those that were given before it, and for no others.
    """
    current = _LANES.get()
    if current is not None:
        return current.submit(work, *given, **named)
    done: Future[T] = Future()
    done.set_result(work(*given, **named))
    return done


class _Lanes:
    """A pool that takes a limited number of jobs at once."""

    def __init__(self, pool: ThreadPoolExecutor, most: int) -> None:
        self._pool = pool
        self._free = BoundedSemaphore(most)
        self._begun: list[Future[Any]] = []

    def submit[T](self, work: Callable[..., T], *given: Any, **named: Any) -> Future[T]:
        self._free.acquire()
        for ended in [job for job in self._begun if job.done()]:
            self._begun.remove(ended)
            ended.result()
        begun = self._pool.submit(torch.no_grad()(work), *given, **named)  # gradients are a thread's own setting
        begun.add_done_callback(lambda _: self._free.release())
        self._begun.append(begun)
        return begun

    def finish(self) -> None:
        for job in self._begun:
            job.result()


_LANES: ContextVar[_Lanes | None] = ContextVar("lanes", default=None)
