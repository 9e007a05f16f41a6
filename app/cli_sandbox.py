"""`research-agent sandbox …`: checks of the sandboxes that works are reproduced in."""

import asyncio
import importlib
import json
from typing import Annotated, Any

import typer
from rich.console import Console

from app.cli_client import load_settings
from app.cli_text import styled
from core.types.run import Stage
from core.types.transcript import Transcript

console = Console()
app = typer.Typer(help="Sandboxes of reproductions.", no_args_is_help=True)


@app.callback()
def sandbox() -> None:
    """Check the sandboxes that works are reproduced in."""


class PrintedJournal:
    """Prints an agent's steps as they come; it keeps nothing."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self.calls = 0

    async def event(self, kind: str, message: str, *, stage: Stage | None = None, **data: Any) -> None:
        """Print what happened."""
        name = kind.partition(".")[2].removesuffix("Event")
        self._out.print(styled(f"  {name:<12} {' '.join(message.split())[:160]}"), soft_wrap=True)

    async def transcript(self, transcript: Transcript) -> int:
        """Count a model call."""
        self.calls += 1
        return self.calls

    async def progress(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        """Print nothing: the check has no stages."""


@app.command()
def smoke(as_json: Annotated[bool, typer.Option("--json", help="print JSON for scripts")] = False) -> None:
    """Let an agent write hello_world.py in a fresh sandbox and run it: the whole way, without a key by a script.

    Exit codes: 0 it works, 1 the agent's program printed something else, 3 no sandbox can be started here.
    """
    checking = importlib.import_module("app.sandbox_smoke")
    journal = PrintedJournal(Console(stderr=True) if as_json else console)
    try:
        seen = asyncio.run(checking.sandbox_smoke(load_settings(), journal))
    except checking.SmokeFailedError as error:
        console.print(styled(f"The sandbox does not work: {error}", "red"))
        raise typer.Exit(1) from None
    if as_json:
        console.print_json(json.dumps(seen.model_dump(mode="json")))
        return
    model = "a scripted model" if seen.model == "scripted" else seen.model
    console.print(styled(f"tier:    {seen.tier}"))
    console.print(styled(f"agent:   {seen.conversed.ended} after {journal.calls} calls of {model}"))
    console.print(styled(f"output:  {seen.output.strip()!r}"))
    console.print(styled(f"sandbox: {'gone' if seen.gone else 'still there'} after {seen.seconds:.1f} s"))
    console.print(styled("hello world: the sandbox works.", "bold green"))
