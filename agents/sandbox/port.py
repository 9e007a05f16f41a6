"""Sandboxes as a port: what a tier can be asked for, whatever it is made of.

A sandbox is a workspace with limits; each command runs in it apart from this machine: no network but the gateway and
what its allow-list names, no file of ours but what is mounted read-only, none of our environment. What a tier can't
enforce it refuses or says.
"""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from pydantic import Field, field_validator

from agents.sandbox.network import EGRESS_PORT, Network, Report, ignore
from core.errors import InvalidInputError, OperatorError, RunError
from core.types.base import Value

WORKSPACE = "/workspace"
HOST_SOCKETS = "/run/host"
GATEWAY_PORT = 8100
"""Where the gateway answers inside, on loopback."""

MAX_OUTPUT_CHARACTERS = 8_000_000


class SandboxUnavailableError(OperatorError):
    """This machine can't run such a sandbox."""

    code = "sandbox_unavailable"


class SandboxHeldError(SandboxUnavailableError):
    """Another living process holds the sandbox."""


class SandboxLostError(RunError):
    """The sandbox ended while it was needed."""

    code = "sandbox_lost"


class Limits(Value):
    """What all commands of a sandbox may use together. `seconds` is the default limit of one command."""

    cpus: float = Field(1.0, gt=0, le=512)
    memory_mb: int = Field(2048, ge=32)
    processes: int = Field(256, ge=4)
    disk_mb: int = Field(2048, ge=1)
    seconds: float = Field(3600.0, gt=0)


class Mount(Value):
    """A file or folder of this machine, readable inside."""

    source: Path
    target: str

    @field_validator("target")
    @classmethod
    def _absolute(cls, target: str) -> str:
        if not target.startswith("/") or ".." in PurePosixPath(target).parts:
            raise ValueError("must be an absolute path")
        return target


class SandboxSpec(Value):
    """What a sandbox is made of. The same `id` finds a persistent sandbox's workspace again.

    `gateway` is the address (`host:port`) of the LLM gateway on this machine; without it, and without hosts in
    `network`, there is no network at all.
    `agent_port` is a port inside whose server we may talk to through `Sandbox.agent_socket`.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{2,62}$")
    limits: Limits = Limits()
    mounts: tuple[Mount, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    gateway: str | None = None
    network: Network = Network()
    agent_port: int | None = Field(None, ge=1, le=65535)
    gpu: str | None = None
    persistent: bool = False

    def ways_out(self) -> list[str]:
        """Return the bridge's options for what leads through the wall."""
        ports = {
            "--gateway": GATEWAY_PORT if self.gateway is not None else None,
            "--egress": EGRESS_PORT if self.network.hosts else None,
            "--agent": self.agent_port,
        }
        return [word for name, port in ports.items() if port is not None for word in (name, str(port))]


class Ending(StrEnum):
    """Why a command ended."""

    EXITED = "exited"
    TIME = "time"
    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    OUTPUT = "output"
    KILLED = "killed"


class Output(Value):
    """A piece of a command's output, as it came."""

    stream: Literal["stdout", "stderr"]
    text: str


class Exit(Value):
    """The end of a command; `code` is None where it was ended by a limit or a kill."""

    code: int | None
    ending: Ending = Ending.EXITED


class Finished(Value):
    """A command that has run to its end."""

    exit: Exit
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Return whether the command ended by itself with code 0."""
        return self.exit.code == 0


class Sandbox(Protocol):
    """A running sandbox."""

    @property
    def spec(self) -> SandboxSpec:
        """Return what it was made of."""
        ...

    @property
    def workspace(self) -> Path:
        """Return the workspace's folder on this machine. What lies in it is hostile: follow no link there."""
        ...

    @property
    def private(self) -> Path:
        """Return a folder of ours beside the workspace, as lasting, that can't be seen inside."""
        ...

    @property
    def agent_socket(self) -> Path:
        """Return a Unix socket on this machine that leads to `agent_port` inside."""
        ...

    def stream(
        self, command: Sequence[str], *, seconds: float | None = None, environment: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Output | Exit]:
        """Run a command in the workspace and yield its output as it comes, then its exit.

        Leaving the iteration early ends the command.
        """
        ...

    async def kill(self) -> None:
        """End everything that runs in it, at once."""
        ...

    async def close(self, *, delete: bool = True) -> None:
        """End everything and free what it holds; with `delete` the workspace too."""
        ...


class Tier(Protocol):
    """A way to make sandboxes."""

    name: str

    async def problem(self) -> str | None:
        """Return why this machine can't run this tier, or None where it can."""
        ...

    async def start(self, spec: SandboxSpec, report: Report = ignore) -> Sandbox:
        """Start a sandbox; raise SandboxUnavailableError with the reason where that can't be.

        `report` is told of each request to its allow-list, as it ended.
        """
        ...

    async def sweep(self) -> Sequence[str]:
        """Remove what processes of ours that died have left, and return the ids."""
        ...


async def run(sandbox: Sandbox, command: Sequence[str], *, seconds: float | None = None) -> Finished:
    """Run a command to its end and return its output."""
    kept: dict[str, list[str]] = {"stdout": [], "stderr": []}
    async with aclosing(sandbox.stream(command, seconds=seconds)) as stream:
        async for piece in stream:
            if isinstance(piece, Exit):
                return Finished(exit=piece, stdout="".join(kept["stdout"]), stderr="".join(kept["stderr"]))
            kept[piece.stream].append(piece.text)
    raise SandboxLostError("The command's output ended without an exit.")


def place(workspace: Path, name: str) -> Path:
    """Return where a file of the workspace is on this machine; raise InvalidInputError when it leads outside.

    Every folder on the way is checked for links. Call it while nothing runs in the sandbox: it can't stop a race.
    """
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
        raise InvalidInputError(f"{name!r} is not a path inside the workspace.")
    path = workspace
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise InvalidInputError(f"{name!r} leads through a link.")
    return path


def make_folder(workspace: Path, name: str) -> Path:
    """Make a folder of a workspace, with those above it, for the sandbox's user to write to; return it."""
    path = workspace
    for part in place(workspace, name).relative_to(workspace).parts:
        path = path / part
        if not path.exists():
            path.mkdir()
            _give(path, workspace)
    return path


def upload(sandbox: Sandbox, name: str, data: bytes) -> None:
    """Write a file into the workspace, with its folders."""
    path = place(sandbox.workspace, name)
    if path.parent != sandbox.workspace:
        make_folder(sandbox.workspace, str(path.parent.relative_to(sandbox.workspace)))
    path.write_bytes(data)
    _give(path, sandbox.workspace)


def _give(path: Path, workspace: Path) -> None:
    """Give a path to whom the workspace was given: a container's user is another one than ours."""
    state = workspace.stat()
    if os.geteuid() == 0:
        os.chown(path, state.st_uid, state.st_gid)
    else:
        path.chmod(state.st_mode & (0o777 if path.is_dir() else 0o666))


def download(sandbox: Sandbox, name: str, *, limit: int = 64 * 2**20) -> bytes:
    """Return a file of the workspace; raise InvalidInputError when there is none or it is too large."""
    path = place(sandbox.workspace, name)
    if not path.is_file():
        raise InvalidInputError(f"There is no file {name!r} in the workspace.")
    if path.stat().st_size > limit:
        raise InvalidInputError(f"{name!r} has {path.stat().st_size} bytes; {limit} are allowed.")
    return path.read_bytes()
