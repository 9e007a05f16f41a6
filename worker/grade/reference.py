"""What the canonical solution answers: calls, outputs and times, computed once in a sandbox of its own and kept.

The sandbox that runs canonical solutions and tests never runs a sample. The cache is content-addressed (program,
inputs, protocol, interpreter) and written in the wire format, so that reading it executes nothing.
"""

import contextlib
import hashlib
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.errors import InvalidInputError
from worker.grade import oracle
from worker.grade.jobs import pack_calls
from worker.grade.limits import Limits, Options, trusted_bounds
from worker.grade.problems import CodeProblem, with_inputs
from worker.grade.sandbox import Sandbox, sealed
from worker.grade.watch import StalledError
from worker.grade.wire import WireError, decode, encode, stand_in

Mode = Literal["bigcode", "evalplus"]
Call = tuple[tuple, dict]
_FORMAT = 2
_CHEAP_S = 0.02  # far above what noise adds to a trivial call, so that the order is the same on any machine


@dataclass(frozen=True, slots=True)
class Reference:
    """One problem, ready to grade: its calls in the order they are made, and what is expected of each.

    `numbers` gives each call's place in the file (base first), `base` how many belong to the base inputs. `holds` is
    False where the canonical solution does not pass the benchmark's own test. `code` is the compiled test program.
    """

    problem: CodeProblem
    calls: tuple[Call, ...]
    outputs: tuple[bytes, ...]
    times: tuple[float, ...]
    numbers: tuple[int, ...]
    base: int
    atols: tuple[float, ...] = ()
    holds: bool = True
    code: bytes = b""
    calls_fd: int = field(default=-1, compare=False)


def job(kind: str, source: str, entry_point: str, limits: Limits, **more: Any) -> dict[str, Any]:
    """Return a job for a sandbox, with the defaults of the fields that are not given."""
    return {
        "kind": kind,
        "source": source,
        "entry_point": entry_point,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "cpu_s": limits.total_s,
        "first_limit": 0.0,
        "each_s": 0.0,
        "longer_s": {},
        "iterate": False,
        "timed": "",
        "whole": False,
        "tagged": False,
        "code": None,
        "outputs": [],
        "record": False,
    } | more


def test_program(problem: CodeProblem) -> str:
    """Return the canonical program with the benchmark's test: what is recorded and replayed."""
    return f"{problem.reference}\n{problem.test}\n"


def prepare(problem: CodeProblem, mode: Mode, sandbox: Sandbox, options: Options) -> Reference:
    """Return the reference of a problem, from the cache or by running the canonical solution.

    Raises:
        InvalidInputError: the problem has nothing to grade by in this mode, or its canonical solution fails.
    """
    if mode == "bigcode" and problem.test is None:
        raise InvalidInputError(f"{problem.task_id} has no test, which the bigcode protocol runs.")
    if mode == "evalplus":
        problem = with_inputs(problem)
    path = _cache_path(problem, mode, options.cache_dir)
    raw = _load(path)
    if raw is None:
        raw = _record(problem, sandbox, options) if mode == "bigcode" else _differential(problem, sandbox, options)
        _store(path, raw)
    return _finished(problem, mode, raw)


def _differential(problem: CodeProblem, sandbox: Sandbox, options: Options) -> dict[str, Any]:
    calls: list[Call] = [(arguments, {}) for arguments in (*problem.base_input, *problem.plus_input)]
    as_set = oracle.compares_as_set(problem)
    task = job("calls", problem.reference, problem.entry_point, _generous(options), timed="output", iterate=as_set)
    frames = _collect(task, calls, sandbox, options)
    outputs = [body for kind, body in frames if kind == b"R"]
    times = b"".join(body for kind, body in frames if kind == b"T")
    if len(outputs) != len(calls):
        ends = [decode(body) for kind, body in frames if kind == b"E"]
        raise InvalidInputError(f"The canonical solution of {problem.task_id} fails: {ends or 'it did not finish'}.")
    return {"outputs": outputs, "times": list(struct.unpack(f"<{len(outputs)}d", times))}


def _record(problem: CodeProblem, sandbox: Sandbox, options: Options) -> dict[str, Any]:
    task = job("check", test_program(problem), problem.entry_point, _generous(options), record=True)
    frames = _collect(task, [], sandbox, options)
    found: dict[bytes, list[bytes]] = {kind: [] for kind in (b"A", b"R", b"C", b"t", b"D")}
    for kind, body in frames:
        found.setdefault(kind, []).append(body)
    answered = len(found[b"R"])
    return {
        "calls": found[b"A"][:answered],
        "outputs": found[b"R"],
        "times": [struct.unpack("<d", body)[0] for body in found[b"t"][:answered]],
        "code": b"".join(found[b"C"]),
        "holds": bool(found[b"D"]),
    }


def _generous(options: Options) -> Limits:
    """Give canonical solutions more time than samples: they are trusted to end, on any machine."""
    return Limits(total_s=10 * options.limits.total_s, memory_bytes=options.limits.memory_bytes)


def _collect(task: dict, calls: Sequence, sandbox: Sandbox, options: Options) -> list[tuple[bytes, bytes]]:
    calls_fd = sealed(pack_calls(calls))
    try:
        with sandbox.run(task, calls_fd) as execution:
            return list(execution.frames(trusted_bounds(options.limits, 30 * options.limits.total_s)))
    except StalledError as error:
        raise InvalidInputError(f"The canonical solution of {task['entry_point']} does not end.") from error
    finally:
        os.close(calls_fd)


def _finished(problem: CodeProblem, mode: Mode, raw: dict[str, Any]) -> Reference:
    if mode == "bigcode":
        calls = tuple((tuple(args), dict(kwargs)) for args, kwargs in map(decode, raw["calls"]))
        count = len(calls)
        order = list(range(count))
        outputs, times, atols = raw["outputs"], raw["times"], [0.0] * count
    else:
        calls = tuple((arguments, {}) for arguments in (*problem.base_input, *problem.plus_input))
        outputs, times = raw["outputs"], raw["times"]
        base = len(problem.base_input)
        order = _order(outputs, times, base)
        values = [oracle.expected_value(problem, stand_in(output)) for output in outputs]
        atols = oracle.tolerances(problem, values[:base]) + oracle.tolerances(problem, values[base:])
    ordered = [calls[number] for number in order]
    return Reference(
        problem=problem,
        calls=tuple(ordered),
        outputs=tuple(outputs[number] for number in order),
        times=tuple(times[number] for number in order),
        numbers=tuple(order),
        base=len(problem.base_input) if mode == "evalplus" else len(calls),
        atols=tuple(atols[number] for number in order),
        holds=bool(raw.get("holds", True)),
        code=raw.get("code", b""),
        calls_fd=sealed(pack_calls(ordered)),
    )


def _order(outputs: Sequence[bytes], times: Sequence[float], base: int) -> list[int]:
    """Order calls so that wrong code fails early: base first, then cheap ones, taking turns among distinct answers."""
    seen: dict[bytes, int] = {}
    turns = []
    for output in outputs:
        turns.append(seen.get(output, 0))
        seen[output] = turns[-1] + 1

    def key(number: int) -> tuple[bool, int, int, int]:
        cost = max(0, int(times[number] / _CHEAP_S)).bit_length()
        return number >= base, cost, turns[number], number

    return sorted(range(len(outputs)), key=key)


# --- the cache -------------------------------------------------------------------------------------------------


def _cache_path(problem: CodeProblem, mode: Mode, cache_dir: Path | None) -> Path | None:
    if cache_dir is None:
        return None
    program = test_program(problem) if mode == "bigcode" else problem.reference
    inputs = b"" if mode == "bigcode" else encode((problem.base_input, problem.plus_input))
    parts = (str(_FORMAT), mode, sys.version, problem.task_id, problem.entry_point, program)
    digest = hashlib.sha256(encode(parts) + inputs).hexdigest()
    return cache_dir / digest[:2] / f"{digest}.ref"


def _load(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.is_file():
        return None
    try:
        raw = decode(path.read_bytes())
    except WireError:
        return None  # a torn or foreign file is computed anew
    return raw if isinstance(raw, dict) else None


def _store(path: Path | None, raw: dict[str, Any]) -> None:
    if path is None:
        return
    part = path.with_suffix(f".{os.getpid()}.{os.urandom(4).hex()}")
    # Where nothing can be kept (a full disk, a folder of another user), everything is computed anew each time.
    with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
        path.parent.mkdir(parents=True, exist_ok=True)
        undo.callback(part.unlink, missing_ok=True)
        part.write_bytes(encode(raw))
        part.replace(path)
