"""Grade completions that were made elsewhere: programs in the sandbox, answers here."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from core.settings import Settings
from core.types.evaluation import ItemOutcome, Score
from worker import generations
from worker.evaluate import OpenGrader, Progress, Report
from worker.evaluation_files import Asked, code_eval, refuse_ks, rich_scores, scores, write_json, write_lines
from worker.grade.limits import Options
from worker.grade.pool import Graded, GradePool
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.protocols.base import AnswerProtocol, CodeProtocol
from worker.protocols.code import END_OF_TURN

ShowProgress = Callable[[str, int], AbstractContextManager[Report]]


def grader(settings: Settings) -> OpenGrader:
    """Return how to open a grading pool on this machine; what canonical solutions answer is kept between runs."""
    options = Options(cache_dir=settings.cache_dir / "grading")

    def open_pool(problems: Sequence[CodeProblem], mode: Mode) -> AbstractContextManager[GradePool]:
        return GradePool(problems, mode, settings.grader_tier, settings.cpu_threads + 1, options)  # type: ignore[arg-type]

    return open_pool


def grade_file(asked: Asked, path: Path, settings: Settings, show: ShowProgress) -> tuple[list[Score], int]:
    """Grade a file of completions and write what was found.

    Returns the scores, and how many samples hold a literal end of turn, which makes them syntax errors.
    """
    submitted = generations.read_generations(path, asked.items)
    refuse_ks(asked, min(Counter(one.task_id for one in submitted).values()))
    with show(path.name, len(submitted)) as report:
        graded = _followed(_verdicts(asked, submitted, settings), len(submitted), report)
    outcomes = generations.outcomes_of(submitted, graded)
    found = scores(outcomes, asked.protocol.metric, asked.ks)
    write_lines(asked.output / "verdicts.jsonl", generations.submitted_lines(submitted, graded))
    config = {"generations": path.name, "n_samples": _samples_each(outcomes), "limit": len(outcomes)}
    write_json(asked.output / "code_eval.json", code_eval(asked, found, config))
    turns = sum(END_OF_TURN in one.source for one in submitted)
    rich = {
        "end_of_turn_samples": turns,
        "benchmark": asked.benchmark,
        "protocol": asked.protocol.id,
        "dataset": asked.source,
        "items": len(asked.items),
        "grader": settings.grader_tier,
        "outcomes": [outcome.model_dump(mode="json") for outcome in outcomes],
    }
    write_json(asked.output / "evaluation.json", rich_scores(found) | rich)
    return found, turns


def _verdicts(asked: Asked, submitted: Sequence[generations.Submitted], settings: Settings) -> Iterator[Graded]:
    if isinstance(asked.protocol, CodeProtocol):
        named = {one.task_id for one in submitted}
        problems = generations.problems_of(item for item in asked.items if item.item_id in named)
        with grader(settings)(problems, asked.protocol.mode) as pool:
            yield from pool.grade(generations.samples_of(submitted))
    elif isinstance(asked.protocol, AnswerProtocol):
        by_id = {item.item_id: item for item in asked.items}
        for index, one in enumerate(submitted):
            verdict, detail = asked.protocol.judge(by_id[one.task_id], one.source)
            yield Graded(index, verdict, detail, 0.0)


def _followed(verdicts: Iterator[Graded], total: int, report: Report) -> list[Graded]:
    """Return all verdicts in the samples' order, and report each as it comes."""
    graded: list[Graded] = []
    passed = 0
    for one in verdicts:
        graded.append(one)
        passed += one.verdict == "passed"
        report(Progress(total, len(graded), passed, total))
    return sorted(graded, key=lambda one: one.index)


def _samples_each(outcomes: Sequence[ItemOutcome]) -> int:
    """Return how many samples each item has, or the fewest where they differ."""
    return min(len(outcome.samples) for outcome in outcomes)
