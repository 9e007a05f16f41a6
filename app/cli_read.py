"""Commands that read: status, leaderboard, transcript, export, settings."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import PydanticUndefined
from rich.console import Console

from app.cli_client import ApiClient, load_settings, open_client
from app.cli_follow import large_files, save_files
from app.cli_text import board_table, percent, print_run, print_runs, styled, table
from core.settings import PREFIX, Settings
from core.types.candidate import Leaderboard
from core.types.reproduction import Reproductions

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
RunId = Annotated[str, typer.Argument(help="run id, or 'latest'")]
console = Console()


def _call(work: Callable[[ApiClient], Awaitable[None]]) -> None:
    async def call() -> None:
        async with open_client(load_settings()) as client:
            await work(client)

    asyncio.run(call())


def print_checked(out: Console, checked: dict[str, Any]) -> None:
    """Print what a SoW will cost and what its reader will miss."""
    forecast = checked["forecast"]
    out.print(styled(f"{checked['sow']['title']}: valid", "bold green"))
    rows = [
        (s["name"], s["role"], s["evaluations"], "?" if s["items"] is None else s["items"], s["samples"])
        for s in forecast["slices"]
    ]
    out.print(table(("benchmark", "role", "evaluations", "items", "samples"), rows))
    out.print(
        f"{forecast['jobs']} jobs, {forecast['items']} items, {forecast['completions']} completions; roughly"
        f" {forecast['minutes_cpu']:.0f} min on two CPU cores, {forecast['minutes_gpu']:.0f} min on a GPU."
    )
    for line in (*forecast["notes"], *checked["warnings"]):
        out.print(styled(f"  {line}", "dim"))


def status(
    run: Annotated[str | None, typer.Argument(help="run id, or 'latest'")] = None, as_json: Json = False
) -> None:
    """Show a run, or the list of runs."""

    async def work(client: ApiClient) -> None:
        answer = await client.get("/v1/runs" if run is None else f"/v1/runs/{await client.latest(run)}")
        if as_json:
            console.print_json(data=answer)
        elif run is None:
            print_runs(console, answer["items"])
        else:
            print_run(console, answer)

    _call(work)


def leaderboard(run: RunId = "latest", role: str | None = None, as_json: Json = False) -> None:
    """Show a run's leaderboard: of a role, or of the one that decides most."""

    async def work(client: ApiClient) -> None:
        answer = await client.get(f"/v1/runs/{await client.latest(run)}/leaderboard", role=role)
        if as_json:
            console.print_json(data=answer)
            return
        board = Leaderboard.model_validate(answer)
        console.print(board_table(board))
        if board.note:
            console.print(styled(board.note, "dim"))

    _call(work)


def reproductions(run: RunId = "latest", as_json: Json = False) -> None:
    """Show the works that agents reproduced: verdict, our result, what the paper claims, cost and reason."""

    async def work(client: ApiClient) -> None:
        answer = await client.get(f"/v1/runs/{await client.latest(run)}/reproductions")
        if as_json:
            console.print_json(data=answer)
            return
        found = Reproductions.model_validate(answer).rows
        rows = [
            (r.work_title, r.verdict.value.replace("_", " "), percent(r.score), " ".join(r.claims[:1]),
             f"${r.usage.cost_usd:.4f}", r.reason)
            for r in found
        ]  # fmt: skip
        console.print(table(("work", "verdict", "our result %", "the paper claims", "cost", "reason"), rows))

    _call(work)


def transcript(
    run: RunId = "latest",
    number: Annotated[int | None, typer.Argument(help="one transcript in full")] = None,
    as_json: Json = False,
) -> None:
    """Show what the agents decided and why, or one conversation in full."""

    async def work(client: ApiClient) -> None:
        base = f"/v1/runs/{await client.latest(run)}/transcripts"
        answer = await client.get(base if number is None else f"{base}/{number}")
        if as_json:
            console.print_json(data=answer)
        elif number is None:
            rows = [(t["id"], t["agent"], t["decider"], t["decision"], t["reason"]) for t in answer["items"]]
            console.print(table(("#", "agent", "decided by", "decision", "reason"), rows))
        else:
            _print_conversation(answer)

    _call(work)


def _print_conversation(transcript: dict[str, Any]) -> None:
    console.print(styled(f"{transcript['agent']}: {transcript['decision']} ({transcript['decider']})", "bold"))
    for message in transcript["messages"]:
        console.rule(styled(message["role"], "cyan"), align="left")
        for part in (message["reasoning"], message["content"]):
            if part:
                console.print(styled(part))
    console.rule(styled("outcome", "cyan"), align="left")
    console.print_json(data=transcript["outcome"])
    for text in (transcript["reason"], *transcript["errors"]):
        console.print(styled(text))


def export(
    run: RunId = "latest",
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path("results"),
    everything: Annotated[bool, typer.Option("--all", help="large files (weights) as well")] = False,
) -> None:
    """Write a run's files: report, figures, survey, recipes."""

    async def work(client: ApiClient) -> None:
        run_id = await client.latest(run)
        for path in await save_files(client, run_id, out / run_id, everything=everything):
            console.print(styled(path), soft_wrap=True)
        if not everything and (left := await large_files(client, run_id)):
            console.print(styled(f"not written, as they are large (--all): {', '.join(left)}", "dim"), soft_wrap=True)

    _call(work)


def settings() -> None:
    """Print all settings as a Markdown table."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        choices = getattr(field.validation_alias, "choices", None)
        names = " or ".join(f"`{c}`" for c in choices) if choices else f"`{PREFIX}{name.upper()}`"
        default = "" if field.default in {None, "", PydanticUndefined} else f"`{field.default}`"
        lines.append(f"| {names} | {default} | {field.description} |")
    typer.echo("\n".join(lines))
