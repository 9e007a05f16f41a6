"""The `evalplus` way: a sample's outputs are compared with the canonical solution's, call by call, as they arrive."""

from core.types.evaluation import Verdict
from worker.grade import oracle
from worker.grade.limits import Options
from worker.grade.reference import Reference
from worker.grade.runs import Judgement, Trace, largest_output, run_sample, sample_job
from worker.grade.sandbox import Sandbox
from worker.grade.wire import decode


def judge_by_outputs(reference: Reference, source: str, sandbox: Sandbox, options: Options) -> Judgement:
    """Grade one sample on the base inputs and then the further ones; stop at the first wrong output.

    Raises:
        SandboxDiedError: the sandbox ended; nothing is known about the sample.
    """
    limits = options.limits
    each = [max(limits.per_input_s, limits.per_input_factor * spent) for spent in reference.times]
    task = sample_job(
        reference,
        source,
        limits,
        each_s=each,
        first_limit=limits.per_input_s,
        cpu_s=max(min(limits.total_s, sum(each)), *each) + 1,
        iterate=oracle.compares_as_set(reference.problem),
        timed=options.timed,
    )
    expected = reference.outputs

    def accept(at: int, output: bytes) -> bool:
        return at < len(expected) and (output == expected[at] or _is_right(reference, at, output))

    bounds = (max(each) * limits.wall_factor, largest_output(reference, limits), limits.total_output_bytes)
    trace = run_sample(sandbox, task, reference.calls_fd, bounds, accept)
    return _judgement(reference, trace)


def _is_right(reference: Reference, at: int, output: bytes) -> bool:
    expected = oracle.expected_value(reference.problem, decode(reference.outputs[at]))
    arguments = reference.calls[at][0]
    return oracle.is_right(reference.problem, arguments, decode(output), expected, reference.atols[at])


def _judgement(reference: Reference, trace: Trace) -> Judgement:
    count = len(reference.calls)
    if trace.refused is not None:
        at, verdict, detail = trace.refused, Verdict.FAILED, ""
    elif trace.trouble is not None:
        at, (verdict, detail) = trace.count, trace.trouble
    elif trace.count == count:
        return Judgement(Verdict.PASSED, "", Verdict.PASSED, trace.cpu_s, trace.code_s)
    else:
        at, verdict, detail = trace.count, Verdict.FORBIDDEN, "claims to be done"
    base = Verdict.PASSED if reference.base <= at else verdict
    where = place(reference, at) if verdict is not Verdict.UNPARSABLE else ""
    return Judgement(verdict, " at ".join(filter(None, (detail, where))), base, trace.cpu_s, trace.code_s)


def place(reference: Reference, at: int) -> str:
    """Name a call by its place in the benchmark's file."""
    if at >= len(reference.numbers):
        return "the end"
    number = reference.numbers[at]
    return f"base input {number}" if number < reference.base else f"plus input {number - reference.base}"
