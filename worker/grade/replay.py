"""The `bigcode` way: the benchmark's `check(candidate)` decides, and never runs beside the code under test.

Which calls `check` makes is known from the canonical solution. The sample answers them in its own sandbox. Answers
equal to the canonical ones are right; as soon as one differs, `check` is run on the sample's answers, in the sandbox
of trusted programs, and its asserts decide. A test that then makes other calls, because they depend on answers, gets
those answers too, in a further round. So there is no verdict, secret or expected value to steal or to write.

Differs from running everything in one process where a test looks at an argument that the candidate has changed in
place, or where an answer has no plain form and equals the expected one only by its own `__eq__`.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.types.evaluation import Verdict
from worker.grade.limits import Options, bounds_of, trusted_bounds
from worker.grade.reference import Call, Reference, job, test_program
from worker.grade.runs import Judgement, Trace, run_sample, sample_job
from worker.grade.sandbox import Sandbox, sealed
from worker.grade.watch import StalledError
from worker.grade.wire import decode, encode, is_digest

_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What `check` made of a list of answers: it passed, failed at a call, or wants the answer to one more call."""

    passed: bool
    calls: int
    detail: str = ""
    asks: Call | None = None


class _Answers:
    """A sample's answers. At the first that is not the canonical one the test is asked, to stop wrong code early."""

    def __init__(self, expected: Sequence[bytes], check: Callable[[list[bytes]], _Outcome], trace: Trace) -> None:
        self.outputs: list[bytes] = []
        self.early: _Outcome | None = None
        self._expected = expected
        self._check = check
        self._trace = trace

    def accept(self, at: int, output: bytes) -> bool:
        """Keep an answer; tell whether to go on."""
        same = at < len(self._expected) and output == self._expected[at]
        if is_digest(output) and not same:
            if self._trace.full is None:
                self._trace.unsettled = True
                return False
            output = self._trace.full
        self.outputs.append(output)
        if self.early is None and not same:
            self.early = self._check(self.outputs)
            return self.early.passed or self.early.asks is not None
        return True

    @property
    def canonical(self) -> bool:
        """Tell whether every answer is the canonical one."""
        return self.early is None and len(self.outputs) == len(self._expected)


class ReplayJudge:
    """Grades samples by the benchmark's own test. `trusted` never runs a sample, `samples` never a test."""

    def __init__(self, samples: Sandbox, trusted: Sandbox, options: Options) -> None:
        self._samples = samples
        self._trusted = trusted
        self._options = options

    def judge(self, reference: Reference, source: str) -> Judgement:
        """Grade one sample.

        Raises:
            SandboxDiedError: the sandbox ended; nothing is known about the sample.
        """
        calls: Sequence[Call] = reference.calls
        cpu_s = code_s = 0.0
        for _ in range(_ROUNDS):
            trace, outcome = self._round(reference, source, calls)
            cpu_s, code_s = cpu_s + trace.cpu_s, code_s + trace.code_s
            if cpu_s > 2 * self._options.limits.program_s:
                return Judgement(Verdict.TIMEOUT, "CPU time of all rounds", Verdict.TIMEOUT, cpu_s, code_s)
            if outcome is None or outcome.asks is None:
                verdict, detail = _verdict(trace, outcome)
                return Judgement(verdict, detail, verdict, cpu_s, code_s)
            calls = [*calls[: outcome.calls - 1], outcome.asks]
        return Judgement(Verdict.FAILED, "the test asks for ever more", Verdict.FAILED, cpu_s, code_s)

    def _round(self, reference: Reference, source: str, calls: Sequence[Call]) -> tuple[Trace, _Outcome | None]:
        """Run the sample on the calls; return the test's outcome, or None where the run alone decides."""
        for whole in (False, True):
            trace = Trace()
            answers = _Answers(reference.outputs, lambda outputs: self._check(reference, calls, outputs), trace)
            self._run(reference, source, calls, (trace, answers.accept, whole))
            if not trace.unsettled:
                break
        if trace.refused is not None:
            return trace, answers.early
        if trace.trouble is None and len(answers.outputs) != len(calls):
            trace.trouble = (Verdict.FORBIDDEN, "claims to be done")
        if trace.trouble or (answers.canonical and reference.holds):
            return trace, None
        return trace, self._check(reference, calls, answers.outputs)

    def _run(
        self,
        reference: Reference,
        source: str,
        calls: Sequence[Call],
        reading: tuple[Trace, Callable[[int, bytes], bool], bool],
    ) -> None:
        limits = self._options.limits
        trace, accept, whole = reading
        task = sample_job(reference, source, limits, cpu_s=limits.program_s, first_limit=limits.program_s)
        task |= {"timed": "call" if self._options.timed else "", "whole": whole}
        bounds = bounds_of(limits, (limits.program_s,) * 2, whole=whole)
        with _sealed_calls(reference, calls) as (calls_fd, tagged):
            task["tagged"] = tagged
            run_sample(self._samples.run(task, calls_fd), trace, bounds, accept)

    def _check(self, reference: Reference, calls: Sequence[Call], outputs: list[bytes]) -> _Outcome:
        limits = self._options.limits
        problem = reference.problem
        task = job("check", test_program(problem), problem.entry_point, limits)
        task |= {"code": reference.code or None, "outputs": outputs, "cpu_s": limits.program_s}
        try:
            with _sealed_calls(reference, calls) as (calls_fd, tagged):
                task["tagged"] = tagged
                with self._trusted.run(task, calls_fd) as execution:
                    return _outcome(list(execution.frames(trusted_bounds(limits, limits.program_s))))
        except StalledError:
            return _Outcome(passed=False, calls=len(outputs), detail="the test does not end on these answers")


@contextlib.contextmanager
def _sealed_calls(reference: Reference, calls: Sequence[Call]) -> Iterator[tuple[int, bool]]:
    """Give a descriptor of the calls, and whether they may hold more than plain values (answers passed on)."""
    if calls is reference.calls:
        yield reference.calls_fd, False
        return
    calls_fd = sealed(encode(list(calls)))
    try:
        yield calls_fd, True
    finally:
        os.close(calls_fd)


def _outcome(frames: list[tuple[bytes, bytes]]) -> _Outcome:
    """Read the frames of a test's run: each call, the arguments of one beyond the known answers, the end."""
    made = sum(kind == b"N" for kind, _ in frames)
    last = dict(frames)
    if b"D" in last:
        return _Outcome(passed=True, calls=made)
    if b"B" in last and b"A" in last:
        args, kwargs = decode(last[b"A"])
        return _Outcome(passed=False, calls=made, asks=(tuple(args), dict(kwargs)))
    stage, name, _ = decode(last[b"E"]) if b"E" in last else ("test", "did not end", False)
    return _Outcome(passed=False, calls=made, detail="" if stage == "assert" else name)


def _verdict(trace: Trace, outcome: _Outcome | None) -> tuple[Verdict, str]:
    if trace.trouble is not None:
        verdict, detail = trace.trouble
        return verdict, detail if verdict is Verdict.UNPARSABLE else f"{detail} at call {trace.count}"
    if outcome is None and trace.refused is not None:
        return Verdict.FORBIDDEN, f"not an answer at call {trace.refused}"
    if outcome is None or outcome.passed:
        return Verdict.PASSED, ""
    return Verdict.FAILED, f"{outcome.detail} at call {max(0, outcome.calls - 1)}".strip()
