"""A job's patience: only sleep counts, whatever the machine does beside it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from worker.grade.limits import Bounds
from worker.grade.watch import TICK_S, CrowdedError, StalledError, Watch

BOUNDS = Bounds(stall_s=0.4, asleep_s=0.8, frame_bytes=1, sent_bytes=1, threads=4, memory_bytes=1 << 40)


@contextmanager
def running(code: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", f"print(flush=True)\n{code}"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def looks(watch: Watch, seconds: float, progress: Callable[[int], bool] = lambda _: False) -> None:
    for number in range(int(seconds / TICK_S)):
        time.sleep(TICK_S)
        watch.look(progress=progress(number))


def test_a_sleeper_stalls() -> None:
    with running("import time; time.sleep(60)") as pid, pytest.raises(StalledError):
        looks(Watch(pid, BOUNDS), 30)


def test_a_sleeper_that_shows_progress_may_sleep_only_so_long_in_all() -> None:
    with running("import time; time.sleep(60)") as pid:
        watch = Watch(pid, replace(BOUNDS, asleep_s=3.0))
        looks(watch, 1.0, lambda _: True)
        with pytest.raises(StalledError):
            looks(watch, 30, lambda _: True)


def test_who_waits_for_a_processor_does_not_stall() -> None:
    spin = "while True: pass"
    with running(spin), running(spin), running(spin), running(spin) as pid:
        looks(Watch(pid, BOUNDS), 1.5)


def test_a_thread_that_works_is_seen() -> None:
    code = "import threading, time\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()\ntime.sleep(60)"
    with running(code) as pid:
        looks(Watch(pid, BOUNDS), 1.5)


def test_a_crowd_of_threads_is_seen() -> None:
    code = "import threading, time\nfor _ in range(9): threading.Thread(target=time.sleep, args=(60,)).start()"
    with running(code) as pid, pytest.raises(CrowdedError):
        looks(Watch(pid, BOUNDS), 30)


def test_unseen_the_wall_clock_counts_a_tenth() -> None:
    watch = Watch(0, BOUNDS)
    looks(watch, 1.0)
    with pytest.raises(StalledError):
        looks(watch, 30)
