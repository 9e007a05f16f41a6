"""Run a submitted `method.py` in a sandbox of its own: tensors in, tensors out, no network, nothing else to see.

The code is hostile. It gets namespaces of its own (bubblewrap), the models read-only, one folder to write to, and
limits of time, memory and file size; what it writes is validated against the base before anyone uses it. It does not
protect from a hole in the kernel. Memory is limited per process: RLIMIT_DATA, as everywhere without cgroups.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from core.bubblewrap import bubblewrap_binary
from core.errors import InvalidInputError, JobFailedError
from worker import method_harness

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
DETAIL_CHARACTERS = 2000
RESULT = "model.safetensors"


@dataclass(frozen=True)
class MethodLimits:
    """What one merge may use."""

    seconds: float = 900.0
    memory_mb: int = 16384
    threads: int = 2


@dataclass(frozen=True)
class MethodCall:
    """A submitted method with what it is called with. `parents` maps names to checkpoint folders, base among them."""

    method: Path
    base: str
    parents: Mapping[str, Path]
    parameters: Mapping[str, float | int | str | bool]


def run_submitted_method(call: MethodCall, out: Path, limits: MethodLimits | None = None) -> Path:
    """Merge with a submitted method and return the folder of the checkpoint that it made.

    Raises JobFailedError, in words for the work's row, when it fails, is too slow, or makes what is no checkpoint of
    the base's form; InvalidInputError when the base is not among the parents.
    """
    if call.base not in call.parents:
        raise InvalidInputError(f"The base {call.base!r} is not among the parents.")
    limits = limits or MethodLimits()
    with tempfile.TemporaryDirectory(prefix="submitted-") as staging:
        folder = Path(staging)
        (folder / "out").mkdir()
        (folder / "parameters.json").write_text(json.dumps(dict(call.parameters)))
        inside = [sys.executable, "-I", "/harness.py", call.base, str(limits.memory_mb)]
        _execute([*_sandbox(call, folder, limits), "--", *inside], folder, limits)
        made = folder / "out" / RESULT
        if made.is_symlink() or not made.is_file():
            raise JobFailedError("The submitted method saved no tensors.")
        check_like_base(made, call.parents[call.base])
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, out / RESULT)
    for file in call.parents[call.base].iterdir():
        if file.is_file() and not file.name.endswith((".safetensors", ".safetensors.index.json")):
            shutil.copyfile(file, out / file.name)
    return out


def check_like_base(made: Path, base: Path) -> None:
    """Raise JobFailedError unless a file has exactly the base's tensors, shapes and dtypes, all finite."""
    try:
        with safe_open(made, framework="pt") as ours:
            left = set(ours.keys())
            for file in sorted(base.glob("*.safetensors")):
                with safe_open(file, framework="pt") as theirs:
                    for name in theirs.keys():  # noqa: SIM118 it is no mapping
                        if name not in left:
                            raise JobFailedError(f"The submitted method left {name} out.")
                        _check(name, ours.get_tensor(name), theirs.get_tensor(name))
                        left.discard(name)
    except SafetensorError as error:
        raise JobFailedError(f"What the submitted method saved is not safetensors: {error}") from error
    if left:
        raise JobFailedError(f"The submitted method made {sorted(left)[0]}, which the base does not have.")


def _check(name: str, made: torch.Tensor, base: torch.Tensor) -> None:
    if made.shape != base.shape or made.dtype != base.dtype:
        raise JobFailedError(
            f"The submitted method gave {name} as {made.dtype} {tuple(made.shape)}; "
            f"the base has {base.dtype} {tuple(base.shape)}."
        )
    if not torch.isfinite(made).all():
        raise JobFailedError(f"The submitted method gave values in {name} that are not finite.")


def _execute(command: list[str], folder: Path, limits: MethodLimits) -> None:
    with (folder / "said").open("w+b") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={}, start_new_session=True
        )
        try:
            code = process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            raise JobFailedError(f"The submitted method took more than {limits.seconds:g} s.") from None
        finally:
            # The namespace's first process is a child of bubblewrap, which takes it along.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            said.seek(max(0, said.tell() - 20 * DETAIL_CHARACTERS))
            words = said.read().decode(errors="replace").strip()
            raise JobFailedError(f"The submitted method failed (code {code}): {words[-DETAIL_CHARACTERS:]}")


def _sandbox(call: MethodCall, folder: Path, limits: MethodLimits) -> Iterator[str]:
    yield from (str(bubblewrap_binary()), "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000")
    yield from ("--disable-userns", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL")
    for path in SYSTEM:
        if Path(path).is_symlink():
            yield from ("--symlink", str(Path(path).readlink()), path)
        elif Path(path).exists():
            yield from ("--ro-bind", path, path)
    yield from ("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev")
    # Where temporary and shared memory may go, bounded.
    for path in ("/tmp", "/dev/shm"):  # noqa: S108
        yield from ("--size", str(256 * 2**20), "--tmpfs", path)
    for python in {str(Path(sys.prefix)), str(Path(sys.base_prefix).resolve())}:
        if not Path(python).is_relative_to("/usr"):
            yield from ("--ro-bind", python, python)
    yield from ("--ro-bind", str(Path(method_harness.__file__)), "/harness.py")
    yield from ("--ro-bind", str(call.method.resolve()), "/method.py")
    yield from ("--ro-bind", str(folder / "parameters.json"), "/parameters.json")
    for name, parent in call.parents.items():
        yield from ("--ro-bind", str(parent.resolve()), f"/models/{name}")
    yield from ("--bind", str(folder / "out"), "/out", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp")  # noqa: S108
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        yield from ("--setenv", name, str(limits.threads))
    yield from ("--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/bin")  # noqa: S108
