"""The `evalplus` way: a sample's outputs are compared with the canonical solution's, call by call, as they arrive.

Long outputs come as digests. Where one differs from the expected one and could still be right (floats, another order of
a dict), the sample is run again and sends long outputs in full.
"""

import os
from collections.abc import Callable, Sequence

from core.types.evaluation import Verdict
from worker.grade import oracle
from worker.grade.jobs import pack_calls
from worker.grade.limits import Limits, Options, bounds_of
from worker.grade.reference import Call, Reference, job
from worker.grade.runs import Judgement, Trace, run_sample, sample_job
from worker.grade.sandbox import Sandbox, sealed
from worker.grade.wire import decode, is_digest, is_text_digest


class DifferentialJudge:
    """Grades samples by their outputs. `trusted` runs canonical solutions only, `samples` never one."""

    def __init__(self, samples: Sandbox, trusted: Sandbox, options: Options) -> None:
        self._samples = samples
        self._trusted = trusted
        self._options = options

    def judge(self, reference: Reference, source: str) -> Judgement:
        """Grade one sample on the base inputs and then the further ones; stop at the first wrong output.

        Raises:
            SandboxDiedError: the sandbox ended; nothing is known about the sample.
        """
        trace = self._run(reference, source, whole=False)
        if trace.unsettled:
            trace = self._run(reference, source, whole=True)
        return _judgement(reference, trace)

    def _run(self, reference: Reference, source: str, *, whole: bool) -> Trace:
        limits = self._options.limits
        longer = _longer(reference.times, limits)
        most = max((limits.per_input_s, *longer.values()))
        total = limits.per_input_s * (len(reference.times) - len(longer)) + sum(longer.values())
        cpu_s = max(min(limits.total_s, total), most) + 1
        task = sample_job(reference, source, limits, cpu_s=cpu_s, first_limit=limits.per_input_s)
        task |= {"each_s": limits.per_input_s, "longer_s": longer}
        task["iterate"] = oracle.compares_as_set(reference.problem)
        task |= {"timed": "call" if self._options.timed else "", "whole": whole}
        trace = Trace()
        bounds = bounds_of(limits, (most, cpu_s), whole=whole)
        accept = self._acceptance(reference, trace, whole=whole)
        run_sample(self._samples.run(task, reference.calls_fd), trace, bounds, accept)
        return trace

    def _acceptance(self, reference: Reference, trace: Trace, *, whole: bool) -> Callable[[int, bytes], bool]:
        expected = reference.outputs

        def accept(at: int, output: bytes) -> bool:
            if at >= len(expected):
                return False
            if output == expected[at]:
                return True
            if not (is_digest(output) or is_digest(expected[at])):
                return _is_right(reference, at, output, expected[at])
            if is_text_digest(expected[at]) and reference.problem.dataset == "humaneval":
                return False
            trace.unsettled = not whole
            full = self._in_full(reference, at) if whole else None
            return full is not None and not is_digest(full) and _is_right(reference, at, trace.full or output, full)

        return accept

    def _in_full(self, reference: Reference, at: int) -> bytes | None:
        """Return the canonical output of one call, however long within the limit, or None."""
        limits = self._options.limits
        task = job("calls", reference.problem.reference, reference.problem.entry_point, limits, whole=True)
        trace = Trace()
        calls: list[Call] = [reference.calls[at]]
        calls_fd = sealed(pack_calls(calls))
        found: list[bytes] = []

        def keep(_at: int, output: bytes) -> bool:
            found.append(trace.full or output)
            return True

        try:
            bounds = bounds_of(limits, (limits.total_s,) * 2, whole=True)
            run_sample(self._trusted.run(task, calls_fd), trace, bounds, keep)
        finally:
            os.close(calls_fd)
        return found[0] if found else None


def _longer(times: Sequence[float], limits: Limits) -> dict[int, float]:
    """Return the limits of the inputs that may take longer than others: few, or none."""
    if limits.per_input_factor * max(times) <= limits.per_input_s:
        return {}
    allowed = {at: limits.per_input_factor * spent for at, spent in enumerate(times)}
    return {at: seconds for at, seconds in allowed.items() if seconds > limits.per_input_s}


def _is_right(reference: Reference, at: int, output: bytes, expected: bytes) -> bool:
    wanted = oracle.expected_value(reference.problem, decode(expected))
    arguments = reference.calls[at][0]
    return oracle.is_right(reference.problem, arguments, decode(output), wanted, reference.atols[at])


def _judgement(reference: Reference, trace: Trace) -> Judgement:
    if trace.refused is not None:
        at, verdict, detail = trace.refused, Verdict.FAILED, ""
    elif trace.trouble is not None:
        at, (verdict, detail) = trace.count, trace.trouble
    elif trace.count == len(reference.calls):
        return Judgement(Verdict.PASSED, "", Verdict.PASSED, trace.cpu_s, trace.code_s)
    else:
        at, verdict, detail = trace.count, Verdict.FORBIDDEN, "claims to be done"
    base = Verdict.PASSED if reference.base <= at else verdict
    where = _place(reference, at) if verdict is not Verdict.UNPARSABLE else ""
    return Judgement(verdict, " at ".join(filter(None, (detail, where))), base, trace.cpu_s, trace.code_s)


def _place(reference: Reference, at: int) -> str:
    """Name a call by its place in the benchmark's file."""
    if at >= len(reference.numbers):
        return "the end"
    number = reference.numbers[at]
    return f"base input {number}" if number < reference.base else f"plus input {number - reference.base}"
