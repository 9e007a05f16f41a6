"""One run of one sample: its outputs as they come, how it ended, and what verdict an ending means."""

from collections.abc import Callable
from dataclasses import dataclass
from signal import SIGKILL, SIGPROF, SIGXCPU, Signals
from struct import iter_unpack
from typing import Any

from core.types.evaluation import Verdict
from worker.grade.limits import Bounds, Limits
from worker.grade.reference import Reference, job
from worker.grade.sandbox import Ending, Execution, ViolationError
from worker.grade.watch import BloatedError, CrowdedError, StalledError
from worker.grade.wire import WireError, decode

_TIMES_UP = frozenset({-SIGPROF, -SIGXCPU})
KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason, the verdict on the base inputs alone, and CPU seconds of the sample's process.

    `code_s` is the part inside the code's own calls, where the pool measures it.
    """

    verdict: Verdict
    detail: str = ""
    base: Verdict | None = None
    cpu_s: float = 0.0
    code_s: float = 0.0


@dataclass(slots=True)
class Trace:
    """What a run has shown: how many outputs, the first one refused, and how it ended.

    `full` is the last output in full, if it is a long one and was asked for; `unsettled`: a digest does not decide.
    """

    count: int = 0
    full: bytes | None = None
    unsettled: bool = False
    refused: int | None = None
    done: bool = False
    trouble: tuple[Verdict, str] | None = None
    ending: Ending | None = None
    code_s: float = 0.0

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds of the process."""
        return self.ending.cpu_s if self.ending else 0.0


def sample_job(reference: Reference, source: str, limits: Limits, **more: Any) -> dict[str, Any]:
    """Return the job that runs a sample's source on calls."""
    return job("calls", source, reference.problem.entry_point, limits, **more)


def run_sample(execution: Execution, trace: Trace, bounds: Bounds, accept: Callable[[int, bytes], bool]) -> None:
    """Read a run to its end, or until `accept` refuses an output; then end it.

    Args:
        execution: the running job.
        trace: filled with what happens.
        bounds: what the run may send.
        accept: told the place and the bytes of each output.

    Raises:
        SandboxDiedError: the sandbox ended; nothing is known about the sample.
    """
    try:
        for kind, body in execution.frames(bounds):
            if kind == b"W" and trace.full is None:
                trace.full = body
            elif kind == b"R":
                trace.count += 1
                if not accept(trace.count - 1, body):
                    trace.refused = trace.count - 1
                    break
                trace.full = None
            else:
                _note(trace, kind, body)
    except StalledError:
        trace.trouble = (Verdict.TIMEOUT, "no progress")
    except BloatedError:
        trace.trouble = (Verdict.MEMORY, "resident memory")
    except CrowdedError:
        trace.trouble = (Verdict.FORBIDDEN, "too many threads")
    except (ViolationError, WireError) as error:
        trace.trouble = (Verdict.FORBIDDEN, str(error)[:200])
    finally:
        trace.ending = execution.end()
    if trace.refused is None and trace.trouble is None and not trace.done:
        trace.trouble = _from_ending(trace.ending)


def _note(trace: Trace, kind: bytes, body: bytes) -> None:
    ended = trace.done or trace.trouble is not None
    if kind == b"D" and not ended:
        trace.done = True
    elif kind == b"E" and not ended:
        trace.trouble = _from_error(decode(body))
    elif kind == b"T" and ended and not trace.code_s and body and len(body) % 8 == 0:
        trace.code_s = sum(number for (number,) in iter_unpack("<d", body))
    else:
        raise ViolationError("a frame out of place")


def _from_error(told: Any) -> tuple[Verdict, str]:
    match told:
        case ["compile", str(name), _]:
            return Verdict.UNPARSABLE, _plain(name)
        case [_, "MemoryError", _]:
            return Verdict.MEMORY, "MemoryError"
        case [_, str(name), True]:
            return Verdict.FORBIDDEN, _plain(name)
        case [_, str(name), _]:
            return Verdict.ERROR, _plain(name)
    raise ViolationError("an unknown error")


def _plain(name: str) -> str:
    """Return a type's name, which a sample may choose, as something that can be shown and stored anywhere."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._") else "?" for c in name[:80])


def _from_ending(ending: Ending) -> tuple[Verdict, str]:
    if ending.littered:
        return Verdict.FORBIDDEN, "too many files"
    if ending.code in _TIMES_UP:
        return Verdict.TIMEOUT, "CPU time"
    if ending.code == -SIGKILL:
        # The kernel kills at the hard CPU limit, or when the machine has no memory left.
        return (Verdict.TIMEOUT, "CPU time") if ending.cpu_s >= 1 else (Verdict.MEMORY, KILLED)
    if ending.code < 0:
        return Verdict.ERROR, Signals(-ending.code).name if -ending.code in set(Signals) else f"signal {-ending.code}"
    return Verdict.ERROR, f"exit {ending.code} before the end"
