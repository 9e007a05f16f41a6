"""`research-agent up`: everything on this machine, from the database to the UI, and with `--run` one run to its end.

Only one `up` serves a state directory; a second one uses the first.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from app.cli_client import URL_FILE, ApiClient, SowFile, api_url, open_client
from app.cli_follow import EXIT_CODES, follow_run, print_outcome, save_files
from app.cli_text import styled
from app.migrate import migrate
from app.supervisor import Program, Supervisor
from app.token import api_token
from core.embedded_postgres import EmbeddedPostgres
from core.errors import OperatorError
from core.settings import PREFIX, Settings

READY_WITHIN_S = 60.0
PORTS_TRIED = 50
RESTARTS = 5
# What a worker, which runs models and generated code, has no use for.
WITHHELD = ("DEEPSEEK_API_KEY", "GITHUB_TOKEN", "SEMANTIC_SCHOLAR_KEY", "OPENALEX_KEY", "TOKEN")


@dataclass(frozen=True)
class Quickstart:
    """What `up --run` does after the start: submit, follow, save; then go on serving or not."""

    sow: SowFile | None = None
    results: Path = Path("results")
    exit_after: bool = False


async def up(settings: Settings, quickstart: Quickstart, console: Console) -> int:
    """Start everything and serve until a signal, or until the quickstart's end; return the exit code."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _lock(settings.state_dir) as first:
        if not first:
            return await _use_running(settings, quickstart, console)
        async with _machine(settings, console) as (url, supervisor):
            return await _serve(settings, url, supervisor, (quickstart, console))


async def _use_running(settings: Settings, quickstart: Quickstart, console: Console) -> int:
    url = api_url(settings)
    console.print(styled(f"`up` is running already at {url}.", "yellow"))
    return 0 if quickstart.sow is None else await _run(settings, url, quickstart, console)


async def _serve(settings: Settings, url: str, supervisor: Supervisor, task: tuple[Quickstart, Console]) -> int:
    quickstart, console = task
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    watched = asyncio.create_task(supervisor.watch())
    try:
        if quickstart.sow is not None:
            run = asyncio.create_task(_run(settings, url, quickstart, console))
            await asyncio.wait({run, stopped, watched}, return_when=asyncio.FIRST_COMPLETED)
            if watched.done():
                watched.result()
            if not run.done():
                run.cancel()
                console.print("Stopping; the run goes on from its last checkpoint at the next `research-agent up`.")
                return 128 + signal.SIGINT
            if run.result() or quickstart.exit_after or not console.is_terminal:
                return run.result()
            console.print("Still serving; Ctrl-C stops.")
        await asyncio.wait({stopped, watched}, return_when=asyncio.FIRST_COMPLETED)
        if watched.done():
            watched.result()
        console.print("Stopping …")
        return 0
    finally:
        for waiting in (stopped, watched):
            waiting.cancel()


async def _run(settings: Settings, url: str, quickstart: Quickstart, console: Console) -> int:
    """Submit the SoW, follow the run, print its outcome, save its files; return the exit code."""
    assert quickstart.sow is not None
    async with open_client(settings, url) as client:
        started = await client.submit(quickstart.sow)
        console.print(styled(f"{started['id']}  {started['sow']['title']}", "bold"))
        console.print(styled(f"Watch it: {url}/runs/{started['id']}?token={api_token(settings)}"), soft_wrap=True)
        run = await follow_run(client, started["id"], console)
        await print_outcome(client, run, console)
        await _save(client, run, quickstart.results / run["id"], console)
    return EXIT_CODES[run["status"]]


async def _save(client: ApiClient, run: dict[str, Any], folder: Path, console: Console) -> None:
    saved = await save_files(client, run["id"], folder)
    report = next((p for p in saved if p.name == "report.html"), None)
    if report is not None:
        console.print(styled(f"Report: {report}"), soft_wrap=True)
    if saved:
        console.print(styled(f"Files:  {folder} ({len(saved)})"), soft_wrap=True)


@asynccontextmanager
async def _machine(settings: Settings, console: Console) -> AsyncIterator[tuple[str, Supervisor]]:
    """Start the database and the processes; give the API's address; end all of them."""
    with contextlib.ExitStack() as stack:
        database_url = settings.database_url.get_secret_value() if settings.database_url else None
        server = None
        if database_url is None:
            console.print("Starting PostgreSQL …")
            server = stack.enter_context(EmbeddedPostgres(settings.state_dir / "postgres"))
            database_url = server.url
        await migrate(database_url)
        listener = stack.enter_context(_listen(settings, console))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{listener.getsockname()[1]}"
        supervisor = Supervisor(settings.log_dir, lambda text: console.print(styled(text, "yellow")))
        try:
            if server is not None:
                supervisor.look_after(_keep(server, console))
            for program in _programs(settings, database_url, listener):
                supervisor.start(program)
            await _until_ready(url, supervisor)
            stack.enter_context(_announced(settings.state_dir / URL_FILE, url))
            console.print(styled(f"Open {url}/?token={api_token(settings)}", "bold"), soft_wrap=True)
            console.print(styled(f"Logs: {settings.log_dir}"), soft_wrap=True)
            yield url, supervisor
        finally:
            await supervisor.stop()


async def _keep(server: EmbeddedPostgres, console: Console) -> None:
    """Start the database again whenever it dies; raise its OperatorError where that fails time and again."""
    while True:
        await asyncio.sleep(0.5)
        for attempt in range(RESTARTS):
            if server.alive:
                break
            console.print(styled("PostgreSQL ended; starting it again.", "yellow"))
            try:
                await asyncio.to_thread(server.start)
            except OperatorError:
                # Backends of a killed server hold its shared memory for a moment.
                if attempt == RESTARTS - 1:
                    raise
                await asyncio.sleep(1.0)


def _programs(settings: Settings, database_url: str, listener: socket.socket) -> list[Program]:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "RESEARCH_AGENT_DATABASE_URL": database_url,
        "RESEARCH_AGENT_STATE_DIR": str(settings.state_dir.resolve()),
        "PYTHONUNBUFFERED": "1",
    }
    ours = {**environment, "RESEARCH_AGENT_TOKEN": api_token(settings)}
    bare = {k: v for k, v in environment.items() if k.removeprefix(PREFIX) not in WITHHELD}
    descriptor = listener.fileno()
    return [
        Program("api", "app.cli", ("api", "--fd", str(descriptor)), ours, (descriptor,)),
        Program("executor", "app.cli", ("executor",), environment),
        Program("worker", "worker.main", (), bare),
    ]


@contextmanager
def _lock(state_dir: Path) -> Iterator[bool]:
    """Hold the state directory; give whether it was free."""
    with (state_dir / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _listen(settings: Settings, console: Console) -> socket.socket:
    """Return a listening socket on the set port, or on the next free one, and say so."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    last = settings.port + PORTS_TRIED if settings.port else 0
    for port in range(settings.port, min(last, 65535) + 1):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
            listener.listen(512)
        except OSError as error:
            listener.close()
            if port == settings.port:
                console.print(styled(f"Port {port} can't be used ({error.strerror}); trying others.", "yellow"))
            continue
        return listener
    raise OperatorError(
        f"No port from {settings.port} on can be used on {settings.host}.", fix="Set RESEARCH_AGENT_PORT and _HOST."
    )


async def _until_ready(url: str, supervisor: Supervisor) -> None:
    """Wait until the API serves; raise OperatorError when it does not come up."""
    watched = asyncio.create_task(supervisor.watch())
    try:
        async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            while not watched.done():
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{url}/readyz")).is_success:
                        return
                await asyncio.sleep(0.1)
            watched.result()
    except TimeoutError as error:
        raise OperatorError("The API did not start.", fix=f"Its log is {supervisor.log_of('api')}.") from error
    finally:
        watched.cancel()


@contextmanager
def _announced(file: Path, url: str) -> Iterator[None]:
    """Let other commands of this state directory find the API."""
    file.write_text(url)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
