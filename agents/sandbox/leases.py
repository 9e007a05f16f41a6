"""Who holds a sandbox: a file that outlives a crash of ours, so that the next start can clean up.

A lease names its owner by process id and start time, so that a reused id is not taken for a living owner.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from core.types.base import Value

LEASE = "lease.json"
KEPT_S = 7 * 86400.0


class Owner(Value):
    """A process of this machine."""

    pid: int
    started: float

    @classmethod
    def me(cls) -> "Owner":
        """Return the present process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "Owner":
        """Return a living process by its id."""
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    @property
    def alive(self) -> bool:
        """Return whether that very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def label(self) -> str:
        """Return it as one word."""
        return f"{self.pid}:{self.started:.2f}"

    @classmethod
    def from_label(cls, label: str) -> "Owner":
        """Read what `label` wrote."""
        pid, started = label.split(":")
        return cls(pid=int(pid), started=float(started))


class Lease(Value):
    """A sandbox's owner, the processes that it started, and whether its workspace is to be found again."""

    id: str
    owner: Owner
    tier: str
    persistent: bool = False
    processes: tuple[Owner, ...] = ()


class LeaseFolder:
    """The folders of all sandboxes on this machine, one each: the lease, the workspace and the sockets."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def folder(self, sandbox_id: str) -> Path:
        """Return a sandbox's folder."""
        return self.root / sandbox_id

    def take(self, lease: Lease) -> Path:
        """Write a lease and return the sandbox's folder."""
        folder = self.folder(lease.id)
        for part in (folder, folder / "workspace", folder / "host", folder / "agent"):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        staging = folder / f"{LEASE}.{os.getpid()}"
        staging.write_text(lease.model_dump_json())
        staging.replace(folder / LEASE)
        return folder

    def holder(self, sandbox_id: str) -> Lease | None:
        """Return a sandbox's lease, or None where nobody holds it."""
        try:
            return Lease.model_validate_json((self.folder(sandbox_id) / LEASE).read_text())
        except FileNotFoundError:
            return None

    def release(self, sandbox_id: str, *, delete: bool) -> None:
        """Give a sandbox up, with its workspace where asked."""
        folder = self.folder(sandbox_id)
        if delete:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            (folder / LEASE).unlink(missing_ok=True)

    def forget(self, seconds: float = KEPT_S) -> None:
        """Remove persistent workspaces that nobody holds and nobody came back to: their runs were given up."""
        for folder in self.root.glob("*"):
            if not (folder / LEASE).exists() and folder.stat().st_mtime < time.time() - seconds:
                shutil.rmtree(folder, ignore_errors=True)

    def orphans(self, tier: str) -> Iterator[Lease]:
        """Yield the leases of a tier whose owners died."""
        for file in sorted(self.root.glob(f"*/{LEASE}")):
            lease = Lease.model_validate_json(file.read_text())
            if lease.tier == tier and not lease.owner.alive:
                yield lease
