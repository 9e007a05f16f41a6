"""`research-agent evaluate`: score a model, or completions made elsewhere, on a benchmark; works alone."""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import CallerError, InvalidInputError, ResearchAgentError
from core.settings import Settings
from core.types.evaluation import Sampling, Score
from worker.benchmark import KNOWN, Hub
from worker.benchmark_files import Found, Wanted, find_items
from worker.evaluate import Progress as Done
from worker.evaluate import Report
from worker.evaluation_files import Asked, prepare_folder, refuse_ks
from worker.generate.port import EngineOptions
from worker.grade.problems import CodeProblem
from worker.grade_file import grade_file
from worker.items import Slice
from worker.protocols.base import EvaluationProtocol
from worker.protocols.code import END_OF_TURN
from worker.protocols.registry import find_protocol

EXIT_CALLER, EXIT_OPERATOR = 2, 3
HELP = """Score a model, or completions made elsewhere, on a benchmark.

\b
A model:        research-agent evaluate --model DIR --benchmark humanevalplus --protocol bigcode
Made elsewhere: research-agent evaluate --generations samples.jsonl --benchmark humanevalplus --protocol evalplus
No hub here:    add --data FOLDER (or set RESEARCH_AGENT_DATA_DIR), where the benchmarks' files lie under their makers'
                names: HumanEvalPlus.jsonl.gz (evalplus), HumanEvalPlus-OriginFmt.jsonl.gz (bigcode), MbppPlus.jsonl.gz,
                gsm8k-test.jsonl.gz, HumanEval.jsonl.gz; or give one of them as --benchmark FILE. Gzipped or not.

\b
--generations takes EvalPlus's samples.jsonl (task_id with completion or solution) and the bigcode harness's list of
lists of programs; gzipped or not.

\b
The folder of --output then holds: code_eval.json (the bigcode harness's form), evaluation.json (intervals, every sample
with its verdict and first failing input, cost), verdicts.jsonl (one line a sample: the line's own fields, index,
verdict, detail) and, for a model, generations.json (the bigcode harness's layout).

Exit codes: 0 done, 2 the request is not valid, 3 this machine or its configuration lacks something.
"""
_console = Console(stderr=True)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Report]:
    """Show a progress bar on the terminal; give what reports to it."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:
        task = progress.add_task(what, total=total)

        def show(done: Done) -> None:
            passed = f"{what}: {done.generated} made, {done.passed} passed"
            progress.update(task, completed=done.graded, description=passed)

        yield show


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidInputError(f"A setting is not valid: {_what(error)}.") from error


def _sampling(protocol: EvaluationProtocol, overrides: dict[str, Any]) -> Sampling:
    given = {name: value for name, value in overrides.items() if value is not None}
    if "max_new_tokens" in given and "max_length" not in given:
        given["max_length"] = None
    try:
        return protocol.sampling.evolve(**given)
    except ValidationError as error:
        raise InvalidInputError(f"The sampling is not valid: {_what(error)}.") from error


def _what(error: ValidationError) -> str:
    """Say what is wrong, without values: they may be secrets."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))


def _ks(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidInputError(f"{text!r} are not numbers of samples.", fix="Give --pass-at such as 1,5,10.")
    return tuple(sorted({int(part) for part in parts}))


Name = Annotated[str, typer.Option(help=f"{', '.join(KNOWN)}, a hub id or a file")]
Protocol = Annotated[
    str | None, typer.Option(help="bigcode, evalplus, exact_match or constraint_match; default: the benchmark's own")
]
Model = Annotated[str | None, typer.Option(help="checkpoint directory, hub id or package:NAME")]
Generations = Annotated[Path | None, typer.Option("--generations", help="grade this file instead")]
Output = Annotated[Path, typer.Option(help="folder for the results")]
Data = Annotated[Path | None, typer.Option(help="folder of benchmark files, or one file, used before the hub")]
Split = Annotated[str | None, typer.Option(help="split, or a range of it such as [0:82]")]
Limit = Annotated[int | None, typer.Option(min=1, help="take only the first items")]
PassAt = Annotated[str, typer.Option(help="k of each pass@k, such as 1,5,10; default: 1, 10, 100 as samples allow")]
Length = Annotated[int | None, typer.Option(min=1, help="prompt and completion tokens")]
Dtype = Annotated[str | None, typer.Option(help="bfloat16, float32 …; default: what this machine is best at")]
Rows = Annotated[int | None, typer.Option(min=1, help="batch size; default: from memory")]
Count = Annotated[int | None, typer.Option(min=1)]
Share = Annotated[float | None, typer.Option(min=0.0)]
AsJson = Annotated[bool, typer.Option("--json", help="print the scores as JSON")]


def command(  # noqa: PLR0913, PLR0917
    benchmark: Name,
    protocol: Protocol = None,
    model: Model = None,
    generations: Generations = None,
    output: Output = Path("evaluation"),
    data: Data = None,
    split: Split = None,
    limit: Limit = None,
    n_samples: Count = None,
    pass_at: PassAt = "",
    temperature: Share = None,
    top_p: Share = None,
    max_length: Length = None,
    max_new_tokens: Count = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    dtype: Dtype = None,
    rows: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Score a model, or completions made elsewhere, on a benchmark."""
    settings = _settings()
    _either(model, generations)
    found = _find(settings, Wanted(benchmark, protocol, Slice(split, limit), data or settings.data_dir))
    chosen = find_protocol(found.protocol)
    lengths = {"max_length": max_length, "max_new_tokens": max_new_tokens}
    draws = {"n_samples": n_samples, "temperature": temperature, "top_p": top_p, "seed": seed}
    sampling = _sampling(chosen, draws | lengths)
    asked = Asked(_short(benchmark), found.items, chosen, sampling, output, _ks(pass_at), found.source)
    chosen.check(asked.items[0])
    if generations is None:
        refuse_ks(asked, sampling.n_samples)
    prepare_folder(output)
    _say(found, benchmark)
    if generations is not None:
        scores, turns = grade_file(asked, generations, settings, _bar)
    else:
        scores, turns = _evaluate_model(asked, str(model), settings, EngineOptions(_device(settings), dtype, rows))
    _warn(turns, scores[0].items, len(found.items))
    _print(scores, as_json=as_json)


def _either(model: str | None, generations: Path | None) -> None:
    if (model is None) == (generations is None):
        raise InvalidInputError("Give either --model or --generations.")


def _find(settings: Settings, wanted: Wanted) -> Found:
    if wanted.protocol is not None:
        find_protocol(wanted.protocol)  # a misspelt one is said before anything is fetched
    token = settings.hub_token.get_secret_value() if settings.hub_token else None
    return find_items(wanted, Hub(settings.hub_url, token))


def _short(benchmark: str) -> str:
    return Path(benchmark).name.split(".")[0]


def _device(settings: Settings) -> str | None:
    return None if settings.device == "auto" else settings.device


def _evaluate_model(asked: Asked, model: str, settings: Settings, options: EngineOptions) -> tuple[list[Score], int]:
    heavy = importlib.import_module("worker.evaluate_model")  # torch takes seconds, which grading does not need
    result: tuple[list[Score], int] = heavy.evaluate_model(asked, model, settings, options, _bar)
    return result


def _say(found: Found, benchmark: str) -> None:
    where = "" if found.source == benchmark else f", from {found.source}"
    _console.print(
        f"{benchmark}: {len(found.items)} items{where}, protocol {found.protocol}", markup=False, highlight=False
    )
    task = found.items[0].task
    if found.protocol == "bigcode" and isinstance(task, CodeProblem) and task.plus_input:
        _console.print(
            "This file's tests are the base tests alone. Its further inputs count under --protocol evalplus;"
            " for bigcode they are in HumanEvalPlus-OriginFmt.jsonl.gz.",
            style="yellow",
        )


def _warn(turns: int, scored: int, items: int) -> None:
    if turns:
        _console.print(f"{turns} samples hold a literal {END_OF_TURN}, which makes them syntax errors.")
    if scored < items:
        _console.print(f"Only {scored} of the {items} items have samples; the scores are of these.", style="yellow")


def _print(found: Sequence[Score], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([one.model_dump() for one in found]) + "\n")
        return
    for one in found:
        spread = f" [{one.interval.low:.4f}, {one.interval.high:.4f}] ({one.interval.method})" if one.interval else ""
        sys.stdout.write(f"{one.metric}  {one.value:.4f}{spread}  {one.items} items\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 2 (the request is wrong) or 3 (this machine lacks something)."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("evaluate", help=HELP)(command)
    try:
        app(args=arguments, standalone_mode=False, prog_name="research-agent evaluate")
    except ResearchAgentError as error:
        _console.print(str(error), style="red", markup=False)
        return EXIT_CALLER if isinstance(error, CallerError) else EXIT_OPERATOR
    except typer.TyperException as error:
        _console.print(str(error), style="red", markup=False)
        return EXIT_CALLER
    return 0


if __name__ == "__main__":
    sys.exit(main())
