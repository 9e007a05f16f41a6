"""`research-agent`: start the service, start and follow runs, read what they found.

Exit codes: 0 done, 1 the run failed, 2 the input is not valid, 3 this machine or its configuration lacks something,
4 the run was cancelled.
"""

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app import cli_read, cli_sandbox
from app.cli_client import ApiClient, load_settings, open_client, read_sow_file
from app.cli_follow import EXIT_CODES, follow_run, print_outcome
from app.cli_text import plain, print_run, styled
from app.tethered import become
from core.errors import ResearchAgentError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
RunId = Annotated[str, typer.Argument(help="run id, or 'latest'")]


def _load(module: str) -> Any:
    """Return a heavy module, loaded by the command that needs it so that the others don't wait for it."""
    return importlib.import_module(module)


def calling[T](work: Callable[[ApiClient], Awaitable[T]]) -> T:
    """Return what a call of the API gives."""

    async def call() -> T:
        async with open_client(load_settings()) as client:
            return await work(client)

    return asyncio.run(call())


@app.command()
def up(
    run: Annotated[Path | None, typer.Option(help="SoW to run once everything is up")] = None,
    exit: Annotated[bool, typer.Option("--exit", help="stop when the run has ended")] = False,
    results: Annotated[Path, typer.Option(help="where the run's files are written")] = Path("results"),
) -> None:
    """Start everything on this machine: PostgreSQL, API with UI, executor and worker."""
    starting = _load("app.up")
    quickstart = starting.Quickstart(None if run is None else read_sow_file(run), results, exit)
    raise typer.Exit(asyncio.run(starting.up(load_settings(), quickstart, console)))


@app.command()
def api(fd: Annotated[int | None, typer.Option(hidden=True)] = None) -> None:
    """Serve the API and the UI."""
    _load("app.api.server").serve_api(load_settings(), fd)


@app.command()
def executor() -> None:
    """Drive runs."""
    asyncio.run(_load("app.executor").run_executor(load_settings()))


@app.command()
def worker() -> None:
    """Do merge and evaluation jobs."""
    become("worker.main")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def evaluate(context: typer.Context) -> None:
    """Evaluate a model or a recipe on a benchmark without a run; `evaluate --help` lists the options."""
    become("worker.evaluate_cli", *context.args)


@app.command()
def survey(
    sow: Path,
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path("survey"),
    max_requests: Annotated[int | None, typer.Option(min=1, help="instead of the SoW's survey.max_requests")] = None,
    embeddings: Annotated[bool, typer.Option(help="rank and classify by sentence embeddings as well")] = True,
    as_json: Json = False,
) -> None:
    """Survey a SoW's literature alone, and write it as Markdown, HTML, BibTeX, CSV and CSL-JSON."""
    options = _load("app.cli_survey").SurveyOptions(out, max_requests, embeddings, as_json)
    _load("app.cli_survey").survey(sow, options)


@app.command()
def migrate() -> None:
    """Bring the database to this version."""
    asyncio.run(_load("app.migrate").migrate(load_settings().required_database_url()))
    console.print("The database is at this version.")


@app.command()
def submit(
    sow: Path,
    follow: Annotated[bool, typer.Option("--follow", help="wait for the run's end")] = False,
    validate: Annotated[bool, typer.Option("--validate", help="only check the SoW and forecast its cost")] = False,
    as_json: Json = False,
) -> None:
    """Start a run of a Statement of Work."""
    document = read_sow_file(sow)

    async def work(client: ApiClient) -> int:
        answer = await client.submit(document, validate_only=validate)
        if follow and not validate:
            run = await follow_run(client, answer["id"], errors if as_json else console)
            if not as_json:
                await print_outcome(client, run, console)
            answer = run
        if as_json:
            console.print_json(data=answer)
        elif validate:
            cli_read.print_checked(console, answer)
        elif not follow:
            console.print(answer["id"])
        return EXIT_CODES[answer["status"]] if follow and not validate else 0

    raise typer.Exit(calling(work))


@app.command()
def follow(run: RunId = "latest") -> None:
    """Follow a run until it ends or waits for a decision."""

    async def work(client: ApiClient) -> int:
        ended = await follow_run(client, await client.latest(run), console)
        await print_outcome(client, ended, console)
        return EXIT_CODES[ended["status"]]

    raise typer.Exit(calling(work))


def _act(run: str, action: str, body: dict[str, Any] | None = None) -> None:
    async def work(client: ApiClient) -> None:
        print_run(console, await client.post(f"/v1/runs/{await client.latest(run)}/{action}", body))

    calling(work)


@app.command()
def cancel(run: RunId) -> None:
    """Cancel a run."""
    _act(run, "cancel")


@app.command()
def resume(run: RunId) -> None:
    """Go on with a failed or cancelled run from its last checkpoint."""
    _act(run, "resume")


@app.command()
def decide(
    run: RunId, approve: Annotated[bool, typer.Option("--approve/--reject", help="the decision")], note: str = ""
) -> None:
    """Answer at the gate where a run waits."""
    _act(run, "decision", {"approve": approve, "note": note})


@app.command()
def doctor(
    sow: Annotated[Path | None, typer.Option(help="say what is missing to run this SoW")] = None, as_json: Json = False
) -> None:
    """Say what this machine can do; exit with 3 where something that runs need is missing."""
    raise typer.Exit(0 if _load("app.cli_doctor").diagnose(sow, as_json) else 3)


for command in (
    cli_read.status,
    cli_read.leaderboard,
    cli_read.reproductions,
    cli_read.transcript,
    cli_read.export,
    cli_read.settings,
):
    app.command()(command)


app.add_typer(cli_sandbox.app, name="sandbox")


def main() -> None:
    """Run a command; end with a documented exit code and one clear message."""
    try:
        app()
    except ResearchAgentError as error:
        errors.print(styled(f"research-agent: {error}", "red"), soft_wrap=True)
        for problem in getattr(error, "problems", ()):
            given = "" if problem.get("given") is None else f" Given: {problem['given']}."
            line = f"  {problem.get('path')}: {problem.get('message')}{given} Allowed: {problem.get('allowed')}."
            errors.print(styled(line), soft_wrap=True)
        sys.exit(2 if error.status < 500 else 3)
    except KeyboardInterrupt:
        errors.print(plain("Interrupted."))
        sys.exit(130)


if __name__ == "__main__":
    main()
