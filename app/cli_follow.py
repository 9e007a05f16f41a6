"""Follow a run on the terminal: its events as they come and a bar a stage; plain lines where there is no terminal."""

import asyncio
import time
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli_client import ApiClient
from app.cli_text import board_table, plain, print_run, styled
from core.errors import CallerError, NotFoundError, OperatorError
from core.types.candidate import Leaderboard

POLL_S = 0.7
PATIENCE_S = 60.0
EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 4, "waiting_for_approval": 0}
ENDED = {"succeeded", "failed", "cancelled"}
LARGE = 64 * 1024 * 1024


class Bars:
    """A bar a stage on a terminal; elsewhere a line whenever a stage's tenth is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.description:<12}"), BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, run: dict[str, Any]) -> None:
        """Bring the bars to a run's progress."""
        for stage, progress in run["progress"].items():
            done, total, note = progress["done"], progress["total"] or None, plain(progress["note"])
            if stage not in self._tasks:
                self._tasks[stage] = self._progress.add_task(stage, total=total, note=note)
            self._progress.update(self._tasks[stage], completed=done, total=total, note=note[:60])
            tenth = 10 * done // total if total else 0
            if not self._console.is_terminal and tenth > self._said.get(stage, -1):
                self._said[stage] = tenth
                self.say(f"{stage}: {done}/{total or '?'} {note}")

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(styled(text), soft_wrap=True)


async def follow_run(client: ApiClient, run_id: str, console: Console) -> dict[str, Any]:
    """Print what happens in a run until it ends or waits for a person; return the run.

    An API that is away for less than a minute is waited for; then OperatorError is raised.
    """
    after, heard = 0, time.monotonic()
    with Bars(console) as bars:
        while True:
            try:
                run = await client.get(f"/v1/runs/{run_id}")
                page = await client.get(f"/v1/runs/{run_id}/events", after=after)
            except OperatorError:
                if time.monotonic() - heard > PATIENCE_S:
                    raise
                await asyncio.sleep(POLL_S)
                continue
            heard, after = time.monotonic(), page["next"]
            for event in page["items"]:
                bars.say(f"{event['at'][11:19]}  {event['message']}")
            bars.show(run)
            if not page["items"] and run["status"] in ENDED | {"waiting_for_approval"}:
                return dict(run)
            await asyncio.sleep(POLL_S)


async def print_outcome(client: ApiClient, run: dict[str, Any], console: Console) -> None:
    """Print a run's end: its state and its leaderboard, where it has one."""
    print_run(console, run)
    try:
        board = Leaderboard.model_validate(await client.get(f"/v1/runs/{run['id']}/leaderboard"))
    except NotFoundError:
        return
    console.print(board_table(board))
    if board.note:
        console.print(styled(board.note, "dim"))


async def large_files(client: ApiClient, run_id: str) -> list[str]:
    """Return the names of a run's files that are written only when everything is asked for."""
    entries = (await client.get(f"/v1/runs/{run_id}/artifacts"))["items"]
    return [plain(entry["name"]) for entry in entries if entry["size"] > LARGE]


async def save_files(client: ApiClient, run_id: str, folder: Path, *, everything: bool = False) -> list[Path]:
    """Write a run's files below a folder and return them; large ones (weights) only when everything is asked for."""
    saved = []
    for entry in (await client.get(f"/v1/runs/{run_id}/artifacts"))["items"]:
        parts = PurePosixPath(entry["name"]).parts
        if any(part in {"..", "/", "."} for part in parts):
            raise CallerError(f"The API names a file {plain(entry['name'])!r}, which is not written.")
        if entry["size"] > LARGE and not everything:
            continue
        target = folder.joinpath(*parts)
        await client.download(entry["href"], target)
        saved.append(target)
    return saved
