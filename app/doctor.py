"""`research-agent doctor`: what this machine can do, and with a SoW, what it lacks to run it.

It looks and measures; it installs nothing and sends no key anywhere.
"""

import asyncio
import importlib.metadata
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import httpx
import psutil

from agents.sandbox.choose import agent_server_python
from core.bubblewrap import bubblewrap_binary
from core.db import Database
from core.embedded_postgres import find_binaries
from core.errors import MissingDependencyError
from core.settings import Settings
from core.types.base import Value

GB = 1024**3
PROGRAM_TIMEOUT_S = 8.0
SOURCE_TIMEOUT_S = 4.0
ROOM_GB = 2
WORKER_PACKAGES = ("torch", "transformers", "safetensors", "mergekit", "accelerate", "sentence-transformers")
KEYS = ("deepseek_api_key", "semantic_scholar_key", "openalex_key", "github_token", "hub_token")
SOURCES = ("deepseek_base_url", "arxiv_url", "semantic_scholar_url", "openalex_url", "github_url", "hub_url")


class Finding(StrEnum):
    """How a check ended. `NOTE`: good to know, and nothing that a run needs."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


class Check(Value):
    """One thing looked at, and what to do where it is missing."""

    name: str
    finding: Finding
    detail: str
    fix: str | None = None


async def examine(settings: Settings) -> list[Check]:
    """Return what this machine can do."""
    database, sources = await asyncio.gather(_database(settings), _sources(settings))
    return [
        _python(), database, await asyncio.to_thread(_gpu), await asyncio.to_thread(_docker),
        await asyncio.to_thread(_bubblewrap), _agent_server(settings), _sandbox_network(settings),
        *_packages(), _memory(), _disk(settings), *_keys(settings), *sources,
    ]  # fmt: skip


def program_output(command: Sequence[str]) -> str | None:
    """Return what a program prints, or None where it is not there, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def gpu_memory_gb() -> float:
    """Return the largest GPU's memory in GB; 0 where there is none."""
    listed = program_output(["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"])
    sizes = [int(line) for line in (listed or "").split() if line.isdecimal()]
    return max(sizes, default=0) / 1024


def _python() -> Check:
    version = sys.version.split()[0]
    return Check(name="Python", finding=Finding.OK, detail=f"{version} ({sys.executable})")


async def _database(settings: Settings) -> Check:
    if settings.database_url is None:
        try:
            return Check(name="PostgreSQL", finding=Finding.OK, detail=f"started by `up` from {find_binaries()}")
        except MissingDependencyError as error:
            return Check(name="PostgreSQL", finding=Finding.MISSING, detail=error.message, fix=error.fix)
    db = Database(settings.database_url.get_secret_value())
    try:
        answers = await asyncio.wait_for(db.answers(), PROGRAM_TIMEOUT_S)
    except TimeoutError:
        answers = False
    finally:
        await db.close()
    if answers:
        return Check(name="PostgreSQL", finding=Finding.OK, detail="DATABASE_URL answers")
    return Check(
        name="PostgreSQL", finding=Finding.MISSING, detail="DATABASE_URL does not answer",
        fix="Start it, correct DATABASE_URL, or unset it.",
    )  # fmt: skip


def _gpu() -> Check:
    found = program_output(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    if found:
        return Check(name="GPU", finding=Finding.OK, detail="; ".join(found.splitlines()))
    return Check(name="GPU", finding=Finding.NOTE, detail="none (nvidia-smi finds no GPU); workers use the CPU")


def _docker() -> Check:
    version = program_output(["docker", "version", "--format", "{{.Server.Version}}"])
    if version:
        return Check(name="Docker", finding=Finding.OK, detail=version)
    return Check(name="Docker", finding=Finding.NOTE, detail="not reachable; reproductions use bubblewrap")


def _bubblewrap() -> Check:
    try:
        binary = bubblewrap_binary()
    except MissingDependencyError as error:
        return Check(name="bubblewrap", finding=Finding.MISSING, detail=error.message, fix=error.fix)
    if program_output([str(binary), "--ro-bind", "/", "/", "--unshare-all", "--", "true"]) is None:
        fix = "Allow user namespaces, or set RESEARCH_AGENT_GRADER_TIER=container."
        detail = f"{binary} can't make a sandbox here"
        return Check(name="bubblewrap", finding=Finding.MISSING, detail=detail, fix=fix)
    return Check(name="bubblewrap", finding=Finding.OK, detail=str(binary))


def _agent_server(settings: Settings) -> Check:
    """Say whether works can be reproduced in bubblewrap; the image of the docker tier has its own."""
    python = agent_server_python(settings)
    if python is None:
        detail = "not installed: works can't be reproduced in bubblewrap sandboxes"
        return Check(name="agent server", finding=Finding.NOTE, detail=detail, fix="make sandbox-env")
    return Check(name="agent server", finding=Finding.OK, detail=str(python))


def _sandbox_network(settings: Settings) -> Check:
    known = ", ".join(str(rule) for rule in settings.sandbox_rules)
    return Check(name="sandbox network", finding=Finding.OK, detail=known or "none but the model's gateway")


def _packages() -> list[Check]:
    checks = []
    for name in WORKER_PACKAGES:
        try:
            detail, finding = importlib.metadata.version(name), Finding.OK
        except importlib.metadata.PackageNotFoundError:
            detail, finding = "not installed: no worker can run here", Finding.MISSING
        fix = None if finding is Finding.OK else "pip install 'research-agent[worker]'"
        checks.append(Check(name=f"package {name}", finding=finding, detail=detail, fix=fix))
    return checks


def _memory() -> Check:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f} GB, {psutil.cpu_count()} CPU threads"
    return Check(name="memory", finding=Finding.OK, detail=detail)


def _disk(settings: Settings) -> Check:
    folder = settings.state_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GB
    finding = Finding.OK if free >= ROOM_GB else Finding.MISSING
    fix = None if finding is Finding.OK else f"Make {ROOM_GB} GB of room, or set RESEARCH_AGENT_STATE_DIR."
    return Check(name="disk", finding=finding, detail=f"{free:.1f} GB free at {folder}", fix=fix)


def _keys(settings: Settings) -> list[Check]:
    given = [(name, getattr(settings, name) is not None) for name in KEYS]
    return [
        Check(name=name, finding=Finding.OK if is_set else Finding.NOTE, detail="set" if is_set else "not set")
        for name, is_set in given
    ]


async def _sources(settings: Settings) -> list[Check]:
    async with httpx.AsyncClient(timeout=SOURCE_TIMEOUT_S, follow_redirects=False) as http:
        return list(await asyncio.gather(*(_source(http, name, getattr(settings, name)) for name in SOURCES)))


async def _source(http: httpx.AsyncClient, name: str, url: str) -> Check:
    """Say whether a service answers at all; any status counts, since no key is sent."""
    began = time.perf_counter()
    try:
        response = await asyncio.wait_for(http.get(url), SOURCE_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
        return Check(name=name, finding=Finding.NOTE, detail=f"{url} is out of reach ({type(error).__name__})")
    took = time.perf_counter() - began
    return Check(name=name, finding=Finding.OK, detail=f"{url} answers {response.status_code} in {took:.1f} s")


def existing(path: Path) -> bool:
    """Return whether a path is there and can be looked at."""
    try:
        return path.exists()
    except OSError:
        return False
