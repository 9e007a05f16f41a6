"""What a sample may use, and how a pool is set up."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.grade.wire import BRIEF

_LARGE = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one sample. Time is CPU time, so that a busy machine changes no verdict.

    `per_input_s` and `per_input_factor`: in `evalplus` mode an input may take max(4 s, 4 x the reference's time), all
    inputs together at most `total_s`. `program_s`: the whole program in `bigcode` mode. `sleep_factor`: how long it may
    sleep, as a multiple of these; waiting for a processor is not sleep.
    """

    per_input_s: float = 4.0
    per_input_factor: float = 4.0
    total_s: float = 60.0
    program_s: float = 20.0
    sleep_factor: float = 1.0
    memory_bytes: int = 2 << 30
    file_bytes: int = 16 << 20
    scratch_bytes: int = 64 << 20
    output_bytes: int = 8 << 20  # of one output, where more than its digest matters
    total_output_bytes: int = 64 << 20
    threads: int = 64


@dataclass(frozen=True, slots=True)
class Options:
    """How a pool grades, beyond the protocol: limits, where reference outputs are kept, and the container's image.

    `timed` measures each call, so that `Graded.code_s` is the code's own CPU time (for benchmarks). `costs` is filled
    with the most seconds that a problem's own calls or a sample of it took, by task; hand it from pool to pool.
    """

    limits: Limits = field(default_factory=Limits)
    cache_dir: Path | None = None
    image: str | None = None
    timed: bool = False
    costs: MutableMapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a run may do.

    Seconds asleep without sending anything, and in all; bytes of one frame, and of all; threads; bytes of memory.
    """

    stall_s: float
    asleep_s: float
    frame_bytes: int
    sent_bytes: int
    threads: int
    memory_bytes: int


def bounds_of(limits: Limits, cpu_s: tuple[float, float], *, whole: bool) -> Bounds:
    """Return the bounds of a run that sends long outputs in full, or only their digests.

    `cpu_s`: CPU seconds of one call, and in all; as long may it sleep.
    """
    one, all_ = (limits.sleep_factor * seconds for seconds in cpu_s)
    largest = limits.output_bytes if whole else 2 * BRIEF
    return Bounds(one, all_, largest, limits.total_output_bytes, limits.threads, limits.memory_bytes)


def trusted_bounds(limits: Limits, asleep_s: float) -> Bounds:
    """Return the bounds of a run of trusted code."""
    return Bounds(asleep_s, asleep_s, _LARGE, _LARGE, _LARGE, _LARGE + 2 * limits.memory_bytes)
