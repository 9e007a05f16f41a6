"""mergekit's command line as a peer of our merges: its seconds, CPU seconds, memory; the checkpoints for both."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.random_experts import resident_model


@dataclass
class Cost:
    """What a piece of work took. `other_load` is the share of the machine's CPU time that other processes took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    other_load: float = 0.0


@contextmanager
def costing() -> Iterator[Cost]:
    """Fill in seconds, CPU seconds (ours and our finished children's) and the load by others."""
    cost = Cost()
    start, own, busy = time.perf_counter(), _own_cpu(), _busy()
    yield cost
    cost.seconds, cost.cpu_seconds = time.perf_counter() - start, _own_cpu() - own
    others = _busy() - busy - cost.cpu_seconds
    cost.other_load = max(0.0, others / cost.seconds / (os.cpu_count() or 1))


def _own_cpu() -> float:
    return sum(os.times()[:4])


def _busy() -> float:
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def run_mergekit(config: dict[str, Any], folder: Path, threads: int) -> Cost:
    """Run mergekit's command line on the recipe and load its result, each in a fresh process with as many threads."""
    out = folder / "mergekit-out"
    (folder / "recipe.yml").write_text(json.dumps(config))
    merge = ["-m", "mergekit.scripts.run_yaml", str(folder / "recipe.yml"), str(out), "--random-seed", "0", "--quiet",
             "--no-copy-tokenizer"]  # fmt: skip
    load = ["-c", f"from transformers import AutoModelForCausalLM as M; M.from_pretrained({str(out)!r}, dtype='auto')"]
    with costing() as cost:
        peaks = [_peak_mb_of([sys.executable, *program], threads) for program in (merge, load)]
    shutil.rmtree(out)
    cost.peak_mb = max(peaks)
    return cost


def _peak_mb_of(command: list[str], threads: int) -> float:
    """Run a command; return its peak resident set in MB, or raise CalledProcessError."""
    limit = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | limit
    ) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command[:4])
    return usage.ru_maxrss * 1024 / 1e6


def write_checkpoints(folder: Path, size: str, experts: int) -> None:
    """Write a base m0 and experts m1, m2, … of it, in a process of their own: its memory is not ours."""
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(folder, size, experts))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise RuntimeError(f"The checkpoints could not be written to {folder}.")


@torch.no_grad()
def _write(folder: Path, size: str, experts: int) -> None:
    torch.manual_seed(0)
    model = resident_model(size, torch.device("cpu"))
    origin = {name: p.clone() for name, p in model.named_parameters()}
    for i in range(experts + 1):
        for name, p in model.named_parameters():
            p.copy_(origin[name] + (torch.randn_like(p).mul_(0.002) if i else 0))
        model.save_pretrained(folder / f"m{i}")
