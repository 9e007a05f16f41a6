"""Evaluate a resident model on items: completions flow to the grader while others are still being made.

Generation runs in a thread of its own, so that a slow grader never holds up the device; verdicts are gathered where the
caller is. Knows nothing of recipes, jobs or files.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import InvalidInputError
from core.types.evaluation import EvaluationCost, ItemOutcome, SampleOutcome, Sampling, Verdict
from worker.generate.port import Completion, Draw, Engine, GenerationRequest
from worker.grade.pool import Graded, Sample
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.protocols.base import AnswerProtocol, CodeProtocol, EvaluationProtocol
from worker.protocols.item import Item

# A decoding step lets go of the interpreter many times, and waits so long for each grading thread that computes.
_SWITCH_S = 0.0005
# Programs that take longer than this to grade are made earlier the longer they take.
_DEAR_S = 0.1
# So early come those that may not end at all, as long as nobody knows better: as if they took two seconds.
_MAY_HANG = 5


class Grader(Protocol):
    """Grades programs as they come (worker.grade.pool.GradePool is one)."""

    def grade(self, samples: Iterable[Sample]) -> Iterator[Graded]:
        """Yield a verdict for every sample."""


OpenGrader = Callable[[Sequence[CodeProblem], Mode], AbstractContextManager[Grader]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate: items under a protocol; `sampling` of None is the protocol's own."""

    protocol: EvaluationProtocol
    items: tuple[Item, ...]
    sampling: Sampling | None = None

    @property
    def drawn(self) -> Sampling:
        """Return how completions are drawn."""
        return self.sampling or self.protocol.sampling


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is, in samples."""

    generated: int
    graded: int
    passed: int
    total: int


Report = Callable[[Progress], None]


def requests_for(plan: Plan, engine: Engine, costs: Mapping[str, float] | None = None) -> list[GenerationRequest]:
    """Return one request per item and sample, items in order, an item's samples side by side.

    `costs`: the most seconds that grading an item took so far. Dear ones are begun first, and those whose programs may
    not end, so that they are graded beside generation and nothing waits for them at its end: where one candidate hangs,
    others of its family tend to. Without costs, items keep their order.
    """
    sampling = plan.drawn
    if sampling.max_length is None and sampling.max_new_tokens is None:
        raise InvalidInputError(
            "The sampling sets no length.", fix="Set max_length (prompt and completion) or max_new_tokens."
        )
    draw = Draw(sampling.temperature, sampling.top_p, sampling.max_length, sampling.max_new_tokens)
    stop = plan.protocol.stop_rule(engine.tokenizer, engine.eos_ids)
    return [
        GenerationRequest(item.item_id, index, prompt, draw, stop, sampling.seed, priority)
        for item in plan.items
        for prompt in [plan.protocol.prompt_ids(item, engine.tokenizer)]
        for priority in [0 if costs is None else _priority(item, costs)]
        for index in range(sampling.n_samples)
    ]


def _priority(item: Item, costs: Mapping[str, float]) -> int:
    dear = int(costs.get(item.item_id, 0.0) / _DEAR_S).bit_length()
    return max(dear, _MAY_HANG) if isinstance(item.task, CodeProblem) and item.task.loops else dear


def evaluate(
    engine: Engine,
    plan: Plan,
    open_grader: OpenGrader,
    report: Report = lambda _: None,
    costs: Mapping[str, float] | None = None,
) -> tuple[tuple[ItemOutcome, ...], EvaluationCost]:
    """Return every item's outcome, in order, and what it took.

    `grade_s` is the work of grading, most of which runs beside generation; `costs`: see `requests_for`.
    """
    requests = requests_for(plan, engine, costs)
    with _Stream(engine, requests) as stream:
        run = _Run(plan, stream, report, len(requests))
        if isinstance(plan.protocol, CodeProtocol):
            run.grade_programs(plan.protocol, open_grader)
        elif isinstance(plan.protocol, AnswerProtocol):
            run.judge_answers(plan.protocol)
        else:
            raise InvalidInputError(f"Protocol {plan.protocol.id!r} neither makes programs nor judges answers.")
    cost = EvaluationCost(generate_s=stream.seconds, grade_s=run.grade_s, tokens=run.tokens, items=len(plan.items))
    return run.outcomes(), cost


class _Stream:
    """Completions of an engine that works ahead in its own thread. A context manager; iterate over it once."""

    def __init__(self, engine: Engine, requests: Sequence[GenerationRequest]) -> None:
        self._engine = engine
        self._requests = requests
        self._done: queue.SimpleQueue[Completion | BaseException | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="generate", daemon=True)
        self.generated = 0
        self.seconds = 0.0

    def __enter__(self) -> "_Stream":
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        sys.setswitchinterval(self._interval)

    def _work(self) -> None:
        started = time.perf_counter()
        try:
            for completion in self._engine.generate(self._requests):
                if self._stopped.is_set():
                    break
                self.generated += 1
                self._done.put(completion)
        except BaseException as error:  # noqa: BLE001
            self._done.put(error)  # raised where the completions are read
        finally:
            self.seconds = time.perf_counter() - started
            self._done.put(None)

    def __iter__(self) -> Iterator[Completion]:
        while (made := self._done.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield made


@dataclass(slots=True)
class _Run:
    """One evaluation in the making: the samples of each item as their verdicts arrive."""

    plan: Plan
    stream: _Stream
    report: Report
    total: int
    samples: dict[str, list[SampleOutcome]] = field(default_factory=dict)
    graded: int = 0
    passed: int = 0
    tokens: int = 0
    grade_s: float = 0.0

    def grade_programs(self, protocol: CodeProtocol, open_grader: OpenGrader) -> None:
        """Send programs to the grader as they come."""
        items = {item.item_id: item for item in self.plan.items}
        problems = [item.task for item in self.plan.items if isinstance(item.task, CodeProblem)]
        completions: list[Completion] = []

        def programs() -> Iterator[Sample]:
            for completion in self.stream:
                completions.append(completion)
                source = protocol.program(items[completion.item_id], completion.text)
                yield Sample(len(completions) - 1, completion.item_id, source)

        with open_grader(problems, protocol.mode) as grader:
            for graded in grader.grade(programs()):
                self.grade_s += graded.seconds
                self._keep(completions[graded.index], graded.verdict, graded.detail)

    def judge_answers(self, protocol: AnswerProtocol) -> None:
        """Judge completions here as they come."""
        items = {item.item_id: item for item in self.plan.items}
        for completion in self.stream:
            self._keep(completion, *protocol.judge(items[completion.item_id], completion.text))

    def _keep(self, completion: Completion, verdict: Verdict, detail: str) -> None:
        outcome = SampleOutcome(
            index=completion.sample_index,
            completion=completion.text,
            verdict=verdict,
            detail=detail,
            tokens=completion.tokens,
        )
        self.samples.setdefault(completion.item_id, []).append(outcome)
        self.graded += 1
        self.passed += verdict is Verdict.PASSED
        self.tokens += completion.tokens
        self.report(Progress(self.stream.generated, self.graded, self.passed, self.total))

    def outcomes(self) -> tuple[ItemOutcome, ...]:
        """Return the items' outcomes in the plan's order."""
        return tuple(
            ItemOutcome(
                item_id=item.item_id,
                samples=tuple(sorted(self.samples[item.item_id], key=lambda sample: sample.index)),
                labels=dict(item.labels),
            )
            for item in self.plan.items
        )
