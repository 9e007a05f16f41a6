"""Sandboxes of containers: a long-lived one a sandbox, commands run in it by `exec`.

A container has no network, no capabilities, a read-only system, limits by control groups (memory, CPUs, processes), a
GPU by id where given, and the same sockets as the other tier (relay.py). Disk is watched. It protects as far as
the engine's namespaces do; whoever can talk to the engine is root on this machine, so the engine stays on our side.
"""

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest

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
    make_folder,
)
from agents.sandbox.relay import Relay
from agents.sandbox.watch import INTERVAL_S, disk_mb

TIER = "docker"
LABEL = "research-agent.sandbox"
OWNER = "research-agent.owner"
BRIDGE = "/opt/bridge.py"
USER = 1000
TMPFS = {"/tmp": "size=256m,mode=1777", "/run": "size=1m"}  # noqa: S108 the container's own
KILLED = 137
CLIENT = "docker"
MARK = "SANDBOX_COMMAND"


class DockerTier:
    """Makes sandboxes from one image; `root` is where their workspaces lie."""

    name = TIER

    def __init__(self, root: Path, image: str = "research-agent-openhands") -> None:
        self._leases = LeaseFolder(root)
        self._image = image
        self._client: DockerClient | None = None

    async def problem(self) -> str | None:
        """Return why no container can be started here, or None."""
        return await asyncio.to_thread(self._problem)

    async def start(self, spec: SandboxSpec, report: Report = ignore) -> "DockerSandbox":
        """Take the lease, open the sockets and start the container."""
        reason = await self.problem()
        if reason is not None:
            raise SandboxUnavailableError(reason, fix="Start Docker and run `make sandbox-image`, or use bubblewrap.")
        held = self._leases.holder(spec.id)
        if held is not None and held.owner.alive and held.owner != Owner.me():
            raise SandboxHeldError(f"The sandbox {spec.id} belongs to process {held.owner.pid}.")
        folder = self._leases.take(Lease(id=spec.id, owner=Owner.me(), tier=TIER, persistent=spec.persistent))
        _give(folder)
        for mount in spec.mounts:
            # The engine would make what a mount needs in the workspace, and keep it for root.
            above = PurePosixPath(mount.target).parent
            if above.is_relative_to(WORKSPACE) and str(above) != WORKSPACE:
                make_folder(folder / "workspace", str(above.relative_to(WORKSPACE)))
        relay = Relay(folder, spec, report)
        await relay.open()
        try:
            container = await asyncio.to_thread(self._container, spec, folder)
        except (APIError, ImageNotFound) as error:
            await relay.close()
            self._leases.release(spec.id, delete=not spec.persistent)
            raise SandboxUnavailableError(f"The container can't be started: {error}") from error
        return DockerSandbox(spec, self._leases, relay, container)

    async def sweep(self) -> Sequence[str]:
        """Remove containers and workspaces whose owners died; persistent workspaces stay."""
        return await asyncio.to_thread(self._sweep)

    def _engine(self) -> DockerClient:
        if self._client is None:
            self._client = DockerClient.from_env(timeout=60)
        return self._client

    def _problem(self) -> str | None:
        if shutil.which(CLIENT) is None:
            return "Docker's command-line client is not installed."
        try:
            self._engine().ping()
            self._engine().images.get(self._image)
        except ImageNotFound:
            return f"There is no image {self._image!r}."
        except (DockerException, OSError) as error:
            return f"No Docker engine answers: {error}"
        return None

    def _container(self, spec: SandboxSpec, folder: Path) -> Container:
        binds = {
            str(folder / "workspace"): {"bind": WORKSPACE, "mode": "rw"},
            str(folder / "host"): {"bind": HOST_SOCKETS, "mode": "ro"},
            **{str(m.source.resolve()): {"bind": m.target, "mode": "ro"} for m in spec.mounts},
        }
        with contextlib.suppress(NotFound):
            self._engine().containers.get(f"research-agent-{spec.id}").remove(force=True)
        gpus = [DeviceRequest(device_ids=[spec.gpu], capabilities=[["gpu"]])] if spec.gpu else None
        return self._engine().containers.run(
            self._image,
            ["sleep", "infinity"],
            name=f"research-agent-{spec.id}",
            labels={LABEL: spec.id, OWNER: Owner.me().label()},
            detach=True,
            init=True,
            user=str(USER),
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=f"{spec.limits.memory_mb}m",
            memswap_limit=f"{spec.limits.memory_mb}m",
            nano_cpus=int(spec.limits.cpus * 1e9),
            # The container's own init and sleep, and the bridge of each command, are not the command's.
            pids_limit=spec.limits.processes + 4,
            tmpfs=TMPFS,
            volumes=binds,
            working_dir=WORKSPACE,
            device_requests=gpus,
        )

    def _sweep(self) -> Sequence[str]:
        swept = []
        for container in self._engine().containers.list(all=True, filters={"label": LABEL}):
            if not Owner.from_label(container.labels[OWNER]).alive:
                container.remove(force=True)
                swept.append(container.labels[LABEL])
        self._leases.forget()
        for lease in self._leases.orphans(TIER):
            self._leases.release(lease.id, delete=not lease.persistent)
            swept.append(lease.id)
        return sorted(set(swept))


class DockerSandbox:
    """One container and its workspace."""

    def __init__(self, spec: SandboxSpec, leases: LeaseFolder, relay: Relay, container: Container) -> None:
        self.spec = spec
        self._leases, self._relay, self._container = leases, relay, container
        self._folder = leases.folder(spec.id)

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
        """Run a command in the container and yield what it says, then how it ended."""
        mark = uuid.uuid4().hex
        own = {"HOME": WORKSPACE, "LANG": "C.UTF-8", **self.spec.network.environment(), **self.spec.environment}
        inside = {**own, **(environment or {}), MARK: mark}
        process = await asyncio.create_subprocess_exec(
            *self._command(command, inside),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Values go by the client's environment: other users of this machine can read command lines.
            env={**_engine_environment(), **inside},
        )
        watch = asyncio.create_task(self._until_over(seconds or self.spec.limits.seconds))
        ending: Ending | None = None
        try:
            async with contextlib.aclosing(outputs(process, watch)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Ending):
                        ending = piece
                        break
                    yield piece
            if ending is None:
                yield await self._exit(await process.wait())
                return
            await self._stop(process, mark)
            yield Exit(code=None, ending=ending)
        finally:
            watch.cancel()
            await self._stop(process, mark)

    async def kill(self) -> None:
        """Kill everything in the container, and start it anew: the next command finds the same workspace."""
        await asyncio.to_thread(self._restart)

    async def close(self, *, delete: bool = True) -> None:
        """Remove the container, close the sockets, give the lease up."""
        with contextlib.suppress(NotFound):
            await asyncio.to_thread(self._container.remove, force=True)
        await asyncio.to_thread(self._container.client.close)
        await self._relay.close()
        self._leases.release(self.spec.id, delete=delete)

    async def _stop(self, process: asyncio.subprocess.Process, mark: str) -> None:
        """End a command; the client first: an engine that can't hand output over does nothing else meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await drained(process)
        await self._end(mark)

    async def _until_over(self, seconds: float) -> Ending:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            if await asyncio.to_thread(disk_mb, self.workspace) > self.spec.limits.disk_mb:
                return Ending.DISK
            await asyncio.sleep(min(10 * INTERVAL_S, max(0.0, deadline - loop.time())))
        return Ending.TIME

    def _command(self, command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        bridge = ["python3", "-I", BRIDGE, *self.spec.ways_out()]
        names = [word for name in environment for word in ("--env", name)]
        return [CLIENT, "exec", "--workdir", WORKSPACE, *names, str(self._container.id), *bridge, "--", *command]

    async def _exit(self, code: int) -> Exit:
        if code == KILLED:
            return Exit(code=None, ending=await self._why_killed())
        return Exit(code=code)

    async def _why_killed(self) -> Ending:
        """Return MEMORY where the container's control group has killed for it: the engine knows of its init only."""
        files = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
        said = await self._ask("sh", "-c", f"cat {' '.join(files)} 2>/dev/null")
        kills = [line.split()[1] for line in said.splitlines() if line.startswith("oom_kill ")]
        return Ending.MEMORY if any(int(k) for k in kills) else Ending.KILLED

    async def _ask(self, *command: str) -> str:
        asked = await asyncio.create_subprocess_exec(
            CLIENT, "exec", str(self._container.id), *command,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=_engine_environment(),
        )  # fmt: skip
        out, _ = await asked.communicate()
        return out.decode(errors="replace")

    async def _end(self, mark: str) -> None:
        """Kill what a command has started, found by its mark in the environment: exec has no kill of its own."""
        script = (
            "import glob, os\n"
            "for path in glob.glob('/proc/[0-9]*/environ'):\n"
            "    try:\n"
            f"        if b'{mark}' in open(path, 'rb').read() and path.split('/')[2] != str(os.getpid()):\n"
            "            os.kill(int(path.split('/')[2]), 9)\n"
            "    except OSError: pass\n"
        )
        await self._ask("python3", "-I", "-c", script)

    def _restart(self) -> None:
        self._quietly(self._container.kill)
        self._quietly(self._container.start)

    @staticmethod
    def _quietly(act: Callable[[], Any]) -> None:
        with contextlib.suppress(DockerException):
            act()


def _engine_environment() -> dict[str, str]:
    """Return what the client needs to find the engine."""
    return {k: v for k, v in os.environ.items() if k in {"PATH", "HOME"} or k.startswith("DOCKER_")}


def _give(folder: Path) -> None:
    """Let the container's user write to the workspace and reach the sockets; no other user can enter the folder."""
    (folder / "host").chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder / "workspace", USER, USER)
    else:
        (folder / "workspace").chmod(0o777)
