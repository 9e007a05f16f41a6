"""Sandboxes of Linux namespaces (bubblewrap): no engine, no image, no root.

Each command has its own pid, ipc, uts, user, mount and network namespaces, a cleared environment, and sees the system
read-only, its workspace, and what is mounted. CPUs are limited by affinity; memory, processes and disk by watching
(watch.py), with the kernel's per-process limits as a backstop. It does not protect from a hole in the kernel, gives no
GPU, and commands of one sandbox don't see each other's processes.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from agents.sandbox.leases import Lease, LeaseFolder, Owner
from agents.sandbox.network import Report, ignore
from agents.sandbox.output import drained, outputs
from agents.sandbox.port import (
    HOST_SOCKETS,
    WORKSPACE,
    Ending,
    Exit,
    Output,
    SandboxHeldError,
    SandboxSpec,
    SandboxUnavailableError,
)
from agents.sandbox.relay import Relay
from agents.sandbox.watch import until_over
from core.bubblewrap import bubblewrap_binary
from core.errors import MissingDependencyError

TIER = "bubblewrap"
BRIDGE = "/opt/bridge.py"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl", "/etc/mime.types", "/etc/localtime")
GONE_S = 10.0
TMP_BYTES = 256 * 2**20
NAMESPACES = ("--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns")


class BubblewrapTier:
    """Makes sandboxes under one folder; `python` is the interpreter that the bridge runs on inside."""

    name = TIER

    def __init__(self, root: Path, python: Path | None = None) -> None:
        self._leases = LeaseFolder(root)
        self._python = python.absolute() if python else Path(sys.executable).resolve()

    async def problem(self) -> str | None:
        """Return why namespaces can't be made here, or None."""
        try:
            command = [str(bubblewrap_binary()), *NAMESPACES, "--ro-bind", "/", "/", "/bin/true"]
        except MissingDependencyError as error:
            return str(error)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        return f"bubblewrap fails: {said.decode(errors='replace').strip()}" if process.returncode else None

    async def start(self, spec: SandboxSpec, report: Report = ignore) -> "BubblewrapSandbox":
        """Take the lease, open the sockets and return the sandbox; nothing runs in it yet."""
        if spec.gpu is not None:
            raise SandboxUnavailableError("The bubblewrap tier gives no GPU.", fix="Use the docker tier.")
        reason = await self.problem()
        if reason is not None:
            raise SandboxUnavailableError(reason, fix="Allow unprivileged user namespaces, or use the docker tier.")
        held = self._leases.holder(spec.id)
        if held is not None and held.owner.alive and held.owner != Owner.me():
            raise SandboxHeldError(f"The sandbox {spec.id} belongs to process {held.owner.pid}.")
        lease = Lease(id=spec.id, owner=Owner.me(), tier=TIER, persistent=spec.persistent)
        folder = self._leases.take(lease)
        relay = Relay(folder, spec, report)
        await relay.open()
        return BubblewrapSandbox(spec, self._leases, relay, self._python)

    async def sweep(self) -> Sequence[str]:
        """End and remove what dead owners have left; persistent workspaces stay."""
        swept = []
        self._leases.forget()
        for lease in self._leases.orphans(TIER):
            await _evict(self._leases.folder(lease.id) / "workspace", lease.processes)
            self._leases.release(lease.id, delete=not lease.persistent)
            swept.append(lease.id)
        return swept


class BubblewrapSandbox:
    """One workspace and the commands that run in it."""

    def __init__(self, spec: SandboxSpec, leases: LeaseFolder, relay: Relay, python: Path) -> None:
        self.spec = spec
        self._leases, self._relay, self._python = leases, relay, python
        self._folder = leases.folder(spec.id)
        self._running: set[Owner] = set()

    @property
    def workspace(self) -> Path:
        """Return the workspace's folder on this machine."""
        return self._folder / "workspace"

    @property
    def private(self) -> Path:
        """Return the folder beside it that is not mounted."""
        return self._folder / "agent"

    @property
    def agent_socket(self) -> Path:
        """Return the socket that leads to the server inside."""
        return self._relay.agent_socket

    async def stream(
        self, command: Sequence[str], *, seconds: float | None = None, environment: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Output | Exit]:
        """Run a command in namespaces of its own and yield what it says, then how it ended."""
        process = await asyncio.create_subprocess_exec(
            *self._command(command, environment or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            start_new_session=True,
        )
        held = Owner.of(process.pid)
        self._hold({*self._running, held})
        watch = asyncio.create_task(
            until_over(process.pid, self.workspace, self.spec.limits, seconds or self.spec.limits.seconds)
        )
        ending = Ending.KILLED
        try:
            async with contextlib.aclosing(outputs(process, watch)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Ending):
                        ending = piece
                        _kill(process.pid)
                        break
                    yield piece
            await drained(process)
            code = process.returncode if ending is Ending.KILLED else None
            yield Exit(code=code) if code is not None and code >= 0 else Exit(code=None, ending=ending)
        finally:
            watch.cancel()
            _kill(process.pid)
            await drained(process)
            self._hold(self._running - {held})

    async def kill(self) -> None:
        """Kill all commands with everything they started."""
        for process in tuple(self._running):
            _kill(process.pid)

    async def close(self, *, delete: bool = True) -> None:
        """Kill everything, close the sockets, give the lease up."""
        await self.kill()
        await self._relay.close()
        self._leases.release(self.spec.id, delete=delete)

    def _hold(self, running: set[Owner]) -> None:
        self._running = running
        held = Lease(
            id=self.spec.id,
            owner=Owner.me(),
            tier=TIER,
            persistent=self.spec.persistent,
            processes=tuple(running),
        )
        if self._folder.is_dir():
            self._leases.take(held)

    def _command(self, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        spec = self.spec
        limits = spec.limits
        bridge = [str(self._python), "-I", BRIDGE, "--cpus", str(max(1, round(limits.cpus)))]
        bridge += ["--memory-mb", str(limits.memory_mb), "--disk-mb", str(limits.disk_mb)]
        bridge += spec.ways_out()
        inside = {
            "PATH": f"{self._python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": WORKSPACE,
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",  # noqa: S108 the sandbox's own
            **spec.network.environment(),
            **spec.environment,
            **environment,
        }
        return [
            str(bubblewrap_binary()),
            *NAMESPACES,
            *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox"),
            *self._mounts(),
            *(word for name, value in inside.items() for word in ("--setenv", name, value)),
            *("--chdir", WORKSPACE, "--", *bridge, "--", *command),
        ]

    def _mounts(self) -> Iterator[str]:
        for path in SYSTEM:
            if Path(path).is_symlink():
                yield from ("--symlink", str(Path(path).readlink()), path)
            elif Path(path).exists():
                yield from ("--ro-bind", path, path)
        for path in SYSTEM_FILES:
            yield from ("--ro-bind-try", path, path)
        yield from ("--proc", "/proc", "--dev", "/dev")
        for path in ("/tmp", "/dev/shm"):  # noqa: S108
            yield from ("--size", str(TMP_BYTES), "--tmpfs", path)
        for folder in python_folders(self._python):
            yield from ("--ro-bind", str(folder), str(folder))
        yield from ("--ro-bind", str(Path(__file__).with_name("bridge.py")), BRIDGE)
        yield from ("--ro-bind", str(self._folder / "host"), HOST_SOCKETS)
        yield from ("--bind", str(self.workspace), WORKSPACE)
        for mount in self.spec.mounts:
            yield from ("--ro-bind", str(mount.source.resolve()), mount.target)
        # What bubblewrap builds the tree on is memory that nothing accounts for.
        yield from ("--remount-ro", "/dev", "--remount-ro", "/")


def python_folders(python: Path) -> Sequence[Path]:
    """Return what an interpreter needs: its environment, and the installation that it was made from."""
    environment = python.parent.parent
    real = python.resolve().parent.parent
    found = [environment] if (environment / "pyvenv.cfg").is_file() else []
    return tuple(p for p in (*found, real) if not p.is_relative_to("/usr"))


def _kill(pid: int) -> None:
    """Kill a command: with bubblewrap's first process dies the namespace, and everything in it."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        for process in psutil.Process(pid).children():
            process.send_signal(signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)


async def _evict(workspace: Path, commands: Sequence[Owner]) -> None:
    """Kill a sandbox's commands and all within it, and wait until they are gone: what is dying still writes."""
    deadline = time.monotonic() + GONE_S
    while time.monotonic() < deadline:
        left = [*(p.pid for p in commands if p.alive), *inhabitants(workspace)]
        if not left:
            return
        for pid in left:
            _kill(pid)
        await asyncio.sleep(0.02)


def inhabitants(workspace: Path) -> Sequence[int]:
    """Return the living processes within a sandbox, whoever their parents are now: its workspace is mounted there."""
    found, source = [], str(workspace).replace(" ", r"\040")
    own = f"/{workspace.parent.name}/{workspace.name}"  # a mount by this name alone may be anybody's
    for file in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            mounts = [line.split(" ", 5) for line in file.read_text().splitlines()]
        except OSError:  # it has ended
            continue
        # A mount's fourth field is its source's path below the file system that it lies on, the fifth its place.
        if any(m[4] == WORKSPACE and m[3].endswith(own) and source.endswith(m[3]) for m in mounts):
            found.append(int(file.parent.name))
    return found
