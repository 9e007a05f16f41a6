"""Score a candidate's directory with the SoW's own command, in a sandbox (task kind `command`).

The command runs in the SoW's folder, read-only, with the candidate read-only at $CANDIDATE: no network, own namespaces,
a private /tmp, none of the service's environment, limits of time and memory. $ROLE says what the number decides
(`screen`, `search` or `confirm`: a command that has held-out data uses it for `confirm`), $SEED changes with every
confirming run, $PARAMETERS is a JSON object of what is searched. Its last line of output is a JSON object
that holds the metric. It does not protect from a hole in the kernel. Memory is limited per process.
"""

import json
import math
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from core.bubblewrap import bubblewrap_binary
from core.errors import InvalidInputError, JobFailedError
from core.types.evaluation import Evaluation, EvaluationCost, Sampling, Score
from core.types.job import CommandEvaluate

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives")
SCRATCH = "/tmp"  # noqa: S108 - the sandbox's own
SHOWN = 800
OUTPUT_BYTES = 16 << 20


def evaluate_command(payload: CommandEvaluate) -> Evaluation:
    """Return the candidate's score; raise JobFailedError, in words for its row, when the command gives none.

    A metric that is to be minimized is kept negated, as `neg_<metric>`: greater is better everywhere.
    """
    root, spec = Path(payload.root).resolve(), payload.evaluation
    candidate = (root / payload.artifact).resolve()
    if not candidate.is_dir():
        raise InvalidInputError(f"There is no candidate directory {payload.artifact!r}.", fix=f"Looked at {candidate}.")
    started = time.perf_counter()
    output = _run(payload, root, candidate)
    value = _metric(output, spec.metric)
    name, sign = (spec.metric, 1.0) if spec.direction == "maximize" else (f"neg_{spec.metric}", -1.0)
    score = Score(metric=name, value=sign * value, items=0)
    return Evaluation(
        id=payload.digest, candidate_id=payload.candidate_id, benchmark="command", protocol="command",
        role=payload.role, sampling=Sampling(seed=payload.seed), outcomes=(), score=score,
        cost=EvaluationCost(grade_s=time.perf_counter() - started), grader="bubblewrap", engine=" ".join(spec.command),
    )  # fmt: skip


def _run(payload: CommandEvaluate, root: Path, candidate: Path) -> str:
    spec = payload.evaluation
    process = subprocess.Popen(
        [*_sandbox(root, candidate), *_told(payload), "--", *spec.command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace",
        start_new_session=True, env={},  # bubblewrap itself is process 1 of the sandbox: its environment can be read
    )  # fmt: skip
    limit = spec.memory_mb << 20
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    try:
        output, errors = process.communicate(timeout=spec.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise JobFailedError(f"The evaluation command took longer than {spec.timeout_s:g} s.") from None
    if process.returncode != 0:
        raise JobFailedError(f"The evaluation command ended with {process.returncode}: {errors.strip()[-SHOWN:]}")
    return output


def _sandbox(root: Path, candidate: Path) -> list[str]:
    system = [part for path in SYSTEM if Path(path).exists() for part in ("--ro-bind", path, path)]
    return [
        str(bubblewrap_binary()), "--unshare-all", "--die-with-parent", "--new-session", "--clearenv",
        "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME", SCRATCH, "--setenv", "LANG", "C.UTF-8",
        *system, "--proc", "/proc", "--dev", "/dev", "--tmpfs", SCRATCH,
        "--ro-bind", str(root), "/task", "--ro-bind", str(candidate), "/candidate",
        "--setenv", "CANDIDATE", "/candidate", "--chdir", "/task",
    ]  # fmt: skip


def _told(payload: CommandEvaluate) -> list[str]:
    """Return what the command is told through its environment."""
    told = {
        "ROLE": payload.role, "SEED": str(payload.seed), "PARAMETERS": json.dumps(payload.parameters, sort_keys=True),
    }  # fmt: skip
    return [part for name, value in told.items() for part in ("--setenv", name, value)]


def _metric(output: str, name: str) -> float:
    lines = [line for line in output.splitlines() if line.strip()]
    try:
        found = json.loads(lines[-1])[name] if lines else None
    except (ValueError, KeyError, TypeError):
        found = None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        last = lines[-1][:SHOWN] if lines else "nothing"
        raise JobFailedError(f"The command's last line holds no number {name!r}: {last}")
    return float(found)
