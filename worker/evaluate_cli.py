"""`research-agent evaluate`: score a model, or completions made elsewhere, on a benchmark; works alone.

Writes into `--output`: code_eval.json (the bigcode harness's form), evaluation.json (everything we know: verdict,
completion and detail of each sample, intervals, cost), generations.json (bigcode's layout) and verdicts.jsonl.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import CallerError, InvalidInputError, ResearchAgentError
from core.passk import score
from core.settings import Settings
from core.types.evaluation import Evaluation, ItemOutcome, Sampling, Score
from core.types.sow import ModelRef
from worker import generations
from worker.benchmark import Hub, load_items
from worker.evaluate import OpenGrader, Plan, evaluate
from worker.evaluate import Progress as Done
from worker.generate.port import EngineOptions
from worker.generate.registry import load_engine
from worker.grade.pool import Graded, GradePool
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.items import Slice
from worker.models import ModelFiles
from worker.protocols.base import CodeProtocol, EvaluationProtocol
from worker.protocols.code import END_OF_TURN
from worker.protocols.item import Item
from worker.protocols.registry import find_protocol

EXIT_CALLER, EXIT_OPERATOR = 2, 3
_KS = (1, 10, 100)
_console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    benchmark: str
    items: tuple[Item, ...]
    protocol: EvaluationProtocol
    sampling: Sampling
    output: Path


def grader(settings: Settings) -> OpenGrader:
    """Return how to open a grading pool on this machine."""

    def open_pool(problems: Sequence[CodeProblem], mode: Mode) -> AbstractContextManager[GradePool]:
        return GradePool(problems, mode, settings.grader_tier)  # type: ignore[arg-type]

    return open_pool


def scores(outcomes: Sequence[ItemOutcome], metric: str) -> list[Score]:
    """Return every score that the outcomes allow: pass@1, 10, 100 for code, else the metric."""
    if not metric.startswith("pass@"):
        return [score(outcomes, metric)]
    most = min(len(outcome.samples) for outcome in outcomes)
    return [score(outcomes, f"pass@{k}") for k in _KS if k <= most]


def code_eval(asked: Asked, found: Sequence[Score], config: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics in the form of the harness's code_eval.json."""
    sampling = asked.sampling
    return {
        asked.benchmark: {one.metric: one.value for one in found},
        "config": {
            "tasks": asked.benchmark,
            "protocol": asked.protocol.id,
            "do_sample": sampling.temperature > 0,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
            "n_samples": sampling.n_samples,
            "max_length_generation": sampling.max_length,
            "max_new_tokens": sampling.max_new_tokens,
            "seed": sampling.seed,
            "limit": len(asked.items),
            **config,
        },
    }


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[Done], None]]:
    """Show a progress bar on the terminal; give what reports to it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:
        task = progress.add_task(what, total=total)

        def show(done: Done) -> None:
            passed = f"{what}: {done.generated} made, {done.passed} passed"
            progress.update(task, completed=done.graded, description=passed)

        yield show


def evaluate_model(asked: Asked, model: str, settings: Settings, options: EngineOptions) -> list[Score]:
    """Generate, grade and write; return the scores."""
    path = ModelFiles(settings).checkpoint(ModelRef(name="model", model=model, revision=options.revision))
    engine = load_engine(settings.engine, path, options)
    plan = Plan(asked.protocol, asked.items, asked.sampling)
    with _bar(asked.benchmark, len(asked.items) * asked.sampling.n_samples) as show:
        outcomes, cost = evaluate(engine, plan, grader(settings), show)
    described = dict(engine.describe())
    engine.close()
    found = scores(outcomes, asked.protocol.metric)
    key = json.dumps([model, asked.benchmark, asked.protocol.id, asked.sampling.model_dump()], sort_keys=True)
    evaluation = Evaluation(
        id=hashlib.sha256(key.encode()).hexdigest()[:24],
        candidate_id=model,
        benchmark=asked.benchmark,
        protocol=asked.protocol.id,
        role="show",
        sampling=asked.sampling,
        outcomes=outcomes,
        score=found[0],
        cost=cost,
        grader=settings.grader_tier,
        engine=json.dumps(described),
    )
    turns = sum(END_OF_TURN in sample.completion for outcome in outcomes for sample in outcome.samples)
    config = {"model": model, "precision": described.get("dtype", ""), "engine": described.get("engine", "")}
    _write(asked.output / "code_eval.json", code_eval(asked, found, config))
    rich = {"scores": [one.model_dump() for one in found], "end_of_turn_samples": turns}
    _write(asked.output / "evaluation.json", rich | {"evaluation": evaluation.model_dump(mode="json")})
    if isinstance(asked.protocol, CodeProtocol):
        lists = generations.bigcode_lists(asked.items, outcomes, asked.protocol)
        _write(asked.output / "generations.json", lists)
    _write_lines(asked.output / "verdicts.jsonl", outcomes)
    if turns:
        _console.print(f"{turns} samples hold a literal {END_OF_TURN}, which makes them syntax errors.")
    return found


def grade_file(asked: Asked, path: Path, settings: Settings) -> list[Score]:
    """Grade completions made elsewhere and write; return the scores."""
    if not isinstance(asked.protocol, CodeProtocol):
        raise InvalidInputError(f"Protocol {asked.protocol.id!r} does not grade programs.")
    submitted = generations.read_generations(path, asked.items)
    named = {one.task_id for one in submitted}
    problems = generations.problems_of(item for item in asked.items if item.item_id in named)
    graded: list[Graded] = []
    with _bar(path.name, len(submitted)) as show, grader(settings)(problems, asked.protocol.mode) as pool:
        for one in pool.grade(generations.samples_of(submitted)):
            graded.append(one)
            passed = sum(g.verdict == "passed" for g in graded)
            show(Done(len(submitted), len(graded), passed, len(submitted)))
    outcomes = generations.outcomes_of(submitted, graded)
    found = scores(outcomes, asked.protocol.metric)
    generations.write_verdicts(asked.output / "verdicts.jsonl", submitted, graded)
    _write(asked.output / "code_eval.json", code_eval(asked, found, {"generations": path.name}))
    return found


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_lines(path: Path, outcomes: Sequence[ItemOutcome]) -> None:
    index = 0
    with path.open("w", encoding="utf-8") as file:
        for outcome in outcomes:
            for sample in outcome.samples:
                row = {"task_id": outcome.item_id, "index": index, "verdict": sample.verdict.value}
                file.write(json.dumps({**row, "detail": sample.detail, "completion": sample.completion}) + "\n")
                index += 1


def _sampling(protocol: EvaluationProtocol, overrides: dict[str, Any]) -> Sampling:
    given = {name: value for name, value in overrides.items() if value is not None}
    if "max_new_tokens" in given and "max_length" not in given:
        given["max_length"] = None
    return protocol.sampling.evolve(**given)


def command(  # noqa: PLR0913, PLR0917
    benchmark: Annotated[str, typer.Option(help="humanevalplus, mbppplus, gsm8k, humaneval, a hub id or a file")],
    protocol: Annotated[str, typer.Option(help="bigcode, evalplus, exact_match or constraint_match")] = "bigcode",
    model: Annotated[str | None, typer.Option(help="checkpoint directory, hub id or package:NAME")] = None,
    generations_file: Annotated[Path | None, typer.Option("--generations", help="grade this file instead")] = None,
    output: Annotated[Path, typer.Option(help="directory for the results")] = Path("evaluation"),
    split: Annotated[str | None, typer.Option(help="split, or a range of it such as [0:82]")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="take only the first items")] = None,
    n_samples: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0)] = None,
    top_p: Annotated[float | None, typer.Option()] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="prompt and completion tokens")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    dtype: Annotated[
        str | None, typer.Option(help="bfloat16, float32 …; default: what this machine is best at")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="batch size; default: from memory")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the scores as JSON")] = False,
) -> None:
    """Score a model, or completions made elsewhere, on a benchmark."""
    settings = Settings()
    if (model is None) == (generations_file is None):
        raise InvalidInputError("Give either --model or --generations.")
    chosen = find_protocol(protocol)
    token = settings.hub_token.get_secret_value() if settings.hub_token else None
    items = load_items(benchmark, Slice(split, limit), Hub(settings.hub_url, token))
    draws = {"n_samples": n_samples, "temperature": temperature, "top_p": top_p, "seed": seed}
    sampling = _sampling(chosen, {**draws, "max_length": max_length, "max_new_tokens": max_new_tokens})
    name = Path(benchmark).name.split(".")[0]
    asked = Asked(name, items, chosen, sampling, output)
    output.mkdir(parents=True, exist_ok=True)
    if generations_file is not None:
        found = grade_file(asked, generations_file, settings)
    else:
        device = None if settings.device == "auto" else settings.device
        found = evaluate_model(asked, str(model), settings, EngineOptions(device, dtype, rows))
    _print(found, as_json=as_json)


def _print(found: Sequence[Score], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([one.model_dump() for one in found]) + "\n")
        return
    for one in found:
        spread = f" [{one.interval.low:.4f}, {one.interval.high:.4f}] ({one.interval.method})" if one.interval else ""
        sys.stdout.write(f"{one.metric}  {one.value:.4f}{spread}  {one.items} items\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 2 (the request is wrong) or 3 (this machine lacks something)."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command("evaluate")(command)
    try:
        app(args=arguments, standalone_mode=False)
    except ResearchAgentError as error:
        _console.print(str(error), style="red", markup=False)
        return EXIT_CALLER if isinstance(error, CallerError) else EXIT_OPERATOR
    except typer.TyperException as error:
        _console.print(str(error), style="red", markup=False)
        return EXIT_CALLER
    return 0


if __name__ == "__main__":
    sys.exit(main())
