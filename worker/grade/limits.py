"""What a sample may use, and how a pool is set up."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one sample. Time is CPU time, so that a busy machine changes no verdict; wall time is more.

    `per_input_s` and `per_input_factor`: in `evalplus` mode an input may take max(4 s, 4 x the reference's time), all
    inputs together at most `total_s`. `program_s`: the whole program in `bigcode` mode.
    """

    per_input_s: float = 4.0
    per_input_factor: float = 4.0
    total_s: float = 60.0
    program_s: float = 20.0
    wall_factor: float = 3.0
    memory_bytes: int = 2 << 30
    file_bytes: int = 16 << 20
    scratch_bytes: int = 64 << 20
    output_bytes: int = 8 << 20  # of one output, where more than its digest matters
    total_output_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How a pool grades, beyond the protocol: limits, where reference outputs are kept, and the container's image.

    `timed` measures each call, so that `Graded.code_s` is the code's own CPU time (for benchmarks).
    """

    limits: Limits = field(default_factory=Limits)
    cache_dir: Path | None = None
    image: str | None = None
    timed: bool = False
