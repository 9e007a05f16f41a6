"""A pool of sandboxes, one pair per worker, that grades samples while others are still being made.

Each worker is a thread with its own sandboxes; a sample's process is the only one that works on its behalf. There is
one worker more than cores, so that no core waits while another's sample runs to its limit: limits are CPU time, which a
shared core doesn't change. Identical samples are graded once. Expected outputs stay in this process and in the
sandboxes of trusted programs.

Does not make generation and grading share a core fairly: give the pool fewer workers if both need the processor.
"""

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from core.errors import InvalidInputError, OperatorError, ResearchAgentError
from core.types.evaluation import Verdict
from worker.grade.differential import DifferentialJudge
from worker.grade.limits import Options
from worker.grade.parser import Parser
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode, Reference, prepare
from worker.grade.replay import ReplayJudge
from worker.grade.runs import KILLED, Judgement
from worker.grade.sandbox import Sandbox, SandboxDiedError
from worker.grade.tiers import TIERS, Tier

_JUDGES: dict[Mode, type[ReplayJudge | DifferentialJudge]] = {"bigcode": ReplayJudge, "evalplus": DifferentialJudge}
_AHEAD = 4  # samples taken from the source per worker, before they are needed


@dataclass(frozen=True, slots=True)
class Sample:
    """A program to grade: its place in the caller's order, its problem, and its full source."""

    index: int
    task_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Graded:
    """The verdict on one sample. `seconds`: wall time its grading took, 0 for one that was graded before.

    `base`: the verdict on the base inputs alone (`evalplus`). `cpu_s`: CPU time of the sample's process; `code_s`: that
    of the code's own calls, if measured.
    """

    index: int
    verdict: Verdict
    detail: str
    seconds: float
    base: Verdict | None = None
    cpu_s: float = 0.0
    code_s: float = 0.0


class GradePool:
    """Grades samples of known problems in a sandbox tier. A context manager; safe for one `grade` at a time."""

    def __init__(
        self,
        problems: Mapping[str, CodeProblem] | Iterable[CodeProblem],
        mode: Mode = "bigcode",
        tier: Tier = "bubblewrap",
        workers: int | None = None,
        options: Options | None = None,
    ) -> None:
        if tier not in TIERS or mode not in {"bigcode", "evalplus"}:
            raise InvalidInputError(
                f"There is no grading mode {mode!r} in tier {tier!r}.", fix=f"Tiers: {', '.join(TIERS)}."
            )
        listed = problems.values() if isinstance(problems, Mapping) else problems
        self.problems = {problem.task_id: problem for problem in listed}
        self.mode: Mode = mode
        self.tier: Tier = tier
        self.workers = workers or len(os.sched_getaffinity(0)) + 1
        self.options = options or Options()
        self._tasks: queue.Queue[_Task | None] = queue.Queue(maxsize=_AHEAD * self.workers)
        self._references: dict[str, Reference] = {}
        self._locks = {task_id: threading.Lock() for task_id in self.problems}
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start the workers.

        Raises:
            OperatorError: the tier can't be used on this machine. There is no fallback to another.
        """
        ready: queue.Queue[ResearchAgentError | None] = queue.Queue()
        for number in range(self.workers):
            thread = threading.Thread(target=self._work, args=(ready,), name=f"grade-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        troubles = [ready.get() for _ in self._threads]
        for trouble in filter(None, troubles):
            self._stop()
            raise trouble
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for reference in self._references.values():
            os.close(reference.calls_fd)
        self._references.clear()

    def grade(self, samples: Iterable[Sample]) -> Iterator[Graded]:
        """Yield verdicts as they are reached, while `samples` is still being read (in a thread of its own).

        Raises:
            InvalidInputError: a sample of an unknown problem, or a problem that can't be graded in this mode.
            OperatorError: a sandbox can't be started any more.
        """
        if not self._threads:
            raise OperatorError("The grading pool is closed.", fix="Use it as a context manager.")
        run = _Run(self, samples)
        try:
            yield from run.results()
        finally:
            run.stop()

    # --- a worker's thread -----------------------------------------------------------------------------------------

    def _work(self, ready: "queue.Queue[ResearchAgentError | None]") -> None:
        sandboxes = Sandbox(self.tier, self.options), Sandbox(self.tier, self.options)
        with sandboxes[0] as samples, sandboxes[1] as trusted, closing(Parser(samples)) as parser:
            try:
                samples.start()
            except ResearchAgentError as error:
                ready.put(error)
                return
            ready.put(None)
            while (task := self._tasks.get()) is not None:
                try:
                    task.run.finish(task, self._judge(task, parser, samples, trusted))
                except Exception as error:  # noqa: BLE001 - a thread's edge: raised where the caller reads
                    task.run.fail(error)

    def _judge(self, task: "_Task", parser: Parser, samples: Sandbox, trusted: Sandbox) -> tuple[Judgement, float]:
        if task.run.stopped:
            return Judgement(Verdict.ERROR, "stopped"), 0.0
        reference = self._reference(task.task_id, trusted)
        started = time.monotonic()
        if refusal := parser.refusal(task.source):
            judgement = Judgement(Verdict.UNPARSABLE, refusal.name, Verdict.UNPARSABLE, refusal.cpu_s)
        else:
            judgement = self._run(reference, task.source, samples, trusted)
        seconds = time.monotonic() - started
        self._took(task.task_id, seconds)
        return judgement, seconds

    def _run(self, reference: Reference, source: str, samples: Sandbox, trusted: Sandbox) -> Judgement:
        judgement = Judgement(Verdict.FORBIDDEN, "ended its sandbox", Verdict.FORBIDDEN)
        # A sample whose sandbox ends is tried once more, in a new one; so is one that a machine without memory killed.
        for _ in range(2):
            try:
                judgement = _JUDGES[self.mode](samples, trusted, self.options).judge(reference, source)
            except SandboxDiedError:
                continue
            if not (judgement.verdict is Verdict.MEMORY and judgement.detail.startswith(KILLED)):
                break
        return judgement

    def _took(self, task_id: str, seconds: float) -> None:
        costs = self.options.costs
        costs[task_id] = max(seconds, costs.get(task_id, 0.0))

    def _reference(self, task_id: str, trusted: Sandbox) -> Reference:
        with self._locks[task_id]:
            if task_id not in self._references:
                reference = prepare(self.problems[task_id], self.mode, trusted, self.options)
                self._references[task_id] = reference
                self._took(task_id, sum(reference.times))
            return self._references[task_id]


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A distinct sample, and the run that waits for it."""

    run: "_Run"
    task_id: str
    source: str


class _Run:
    """One call of `grade`: reads the samples in a thread, hands distinct ones to the workers, gathers the verdicts."""

    def __init__(self, pool: GradePool, samples: Iterable[Sample]) -> None:
        self._pool = pool
        self._samples = samples
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], list[int]] = {}
        self._known: dict[tuple[str, str], Judgement] = {}
        self._results: queue.Queue[Graded | BaseException | int] = queue.Queue()
        self.stopped = False
        self._reader = threading.Thread(target=self._read, name="grade-reader", daemon=True)
        self._reader.start()

    def results(self) -> Iterator[Graded]:
        """Yield verdicts until every sample that was read has one."""
        expected: int | None = None
        given = 0
        while expected is None or given < expected:
            item = self._results.get()
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Graded):
                given += 1
                yield item
            else:
                expected = item

    def stop(self) -> None:
        """Let the workers pass over what is left."""
        self.stopped = True

    def _read(self) -> None:
        count = 0
        try:
            for sample in self._samples:
                if self.stopped:
                    return
                self._take(sample)
                count += 1
        except BaseException as error:  # noqa: BLE001
            self._results.put(error)  # the caller's source failed: raised where the caller reads
        else:
            self._results.put(count)

    def _take(self, sample: Sample) -> None:
        if sample.task_id not in self._pool.problems:
            raise InvalidInputError(f"Sample {sample.index} is of {sample.task_id}, which is not in the benchmark.")
        key = (sample.task_id, sample.source)
        with self._lock:
            known = self._known.get(key)
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.append(sample.index)
            elif known is None:
                self._waiting[key] = [sample.index]
        if known is not None:
            self._results.put(_graded(sample.index, known, 0.0))
        elif waiting is None:
            self._pool._tasks.put(_Task(self, *key))

    def finish(self, task: _Task, result: tuple[Judgement, float]) -> None:
        """Give a verdict to every sample that waits for it."""
        judgement, seconds = result
        key = (task.task_id, task.source)
        with self._lock:
            self._known[key] = judgement
            indices = self._waiting.pop(key)
        for number, index in enumerate(indices):
            self._results.put(_graded(index, judgement, 0.0 if number else seconds))

    def fail(self, error: BaseException) -> None:
        """End the run with an error."""
        self.stopped = True
        self._results.put(error)


def _graded(index: int, judgement: Judgement, seconds: float) -> Graded:
    return Graded(
        index, judgement.verdict, judgement.detail, seconds, judgement.base, judgement.cpu_s, judgement.code_s
    )
