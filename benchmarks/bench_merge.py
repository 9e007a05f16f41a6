"""Times every method: recipe → a resident model ready to generate; one JSON line a method.

On CPU the same recipes are also run by mergekit's command line plus loading its result, on a synthetic Gemma-2 shaped
checkpoint (`--size small`). Ours is the median of three (of one where it takes over 8 s); imports aren't counted, a
worker pays them once. `peak_mb` is the peak resident set (the model, what is in work of the bank, the rule's own; the
system's file cache isn't in it) above that of the same process when it has imported everything and merged a tiny
checkpoint; mergekit's is that of the whole process. CPU seconds tell how far other processes disturbed a line. `--size
1b --without-mergekit` shows what memory grows with the model.

On a GPU the weights are made on the device (`--size 9b`: Gemma-2-9B); mergekit isn't needed there, nor pydantic.
`--placement compressed` keeps experts as 4-bit deltas (80 GB machines), `auto` does so where base, experts and model
don't fit. `--profile` says where the time goes: the host's share and the longest kernels.
A method that fails prints its error and the others go on; `--out FILE` keeps every line as it comes.
"""

import argparse
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import AutoModelForCausalLM

from benchmarks.merge_peer import Cost, costing, run_mergekit, write_checkpoints
from benchmarks.random_experts import SIZES, fitting_placement, random_bank, resident_model
from core.errors import ResearchAgentError
from core.merging_table import recipe_config
from worker.merge.apply import resolve, write_targets
from worker.merge.bank import BASE, ExpertBank, ModelRef, Placement
from worker.merge.context import Calibration
from worker.merge.memory import peak_mb, reset_peak, resident_mb
from worker.merge.registry import method
from worker.merge.targets import checksum, resident_targets

GPU_METHODS = [
    "linear", "task_arithmetic", "ra_dare_linear", "ra_dare_ties", "ra_ties", "ra_ties:tensor", "ra_metagpt", "ra_tvq",
    "ra_star", "ra_regmean", "ra_regmean_pp",
]  # fmt: skip
CPU_METHODS = [
    "linear", "slerp", "nuslerp", "multislerp", "karcher", "task_arithmetic", "ties", "ra_ties:tensor", "ra_ties",
    "dare_linear", "ra_dare_linear", "dare_ties", "ra_dare_ties", "della", "della_linear", "breadcrumbs",
    "breadcrumbs_ties", "sce", "ram", "model_stock", "nearswap", "arcee_fusion", "ra_star", "ra_metagpt", "ra_tvq",
    "ra_rtvq", "ra_regmean", "ra_regmean_pp",
]  # fmt: skip
MERGEKIT_NAMES = {
    "ra_ties:tensor": "ties",
    "ra_ties": "ties",
    "ra_dare_linear": "dare_linear",
    "ra_dare_ties": "dare_ties",
}
_LONG_S = 8.0


def recipe(label: str, base: str, experts: list[str]) -> dict[str, Any]:
    name, _, scope = label.partition(":")
    most = {"slerp": 1, "nearswap": 1, "arcee_fusion": 1, "nuslerp": 2}.get(name, len(experts))
    extra: dict[str, Any] = {"scope": scope} if scope else {}
    config = recipe_config(name, base, dict.fromkeys(experts[:most], 0.4), **extra)
    if name in {"ties", "ra_ties"}:
        for model in config["models"]:  # type: ignore[attr-defined]
            model["parameters"]["density"] = 0.2
    return config


def bandwidth(device: torch.device) -> float:
    """Return the bytes a second that a plain copy moves (read and written)."""
    size = 1 << (32 if device.type == "cuda" else 27)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(timed(lambda: target.copy_(source), device) for _ in range(3))
    return 2 * size / best


def timed(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def cost_of(work: Callable[[], Any], device: torch.device) -> Cost:
    with costing() as cost:
        timed(work, device)
    return cost


def calibration(bank: ExpertBank, size: str, sequences: int) -> Calibration:
    generator = torch.Generator().manual_seed(0)
    vocabulary = SIZES[size]["vocab_size"]
    batches = [torch.randint(4, vocabulary, (4, 256), generator=generator) for _ in range(max(1, sequences // 4))]
    return Calibration(dict.fromkeys(bank.experts, tuple(batches)))


def measure(label: str, bank: ExpertBank, model: Any, options: argparse.Namespace) -> dict[str, Any]:
    device = bank.device
    config = recipe(label, BASE, list(bank.experts))
    targets = resident_targets(model, bank.shapes)
    text = calibration(bank, options.size, options.sequences)

    def merge() -> None:
        write_targets(targets, bank, resolve(config, bank, model, text))

    method(config["merge_method"])  # a worker imports its methods once
    heavy = label.startswith(("ra_star", "ra_regmean"))
    if device.type == "cuda" and not heavy:
        merge()  # compiles the kernels
    reset_peak(device)
    costs = [cost_of(merge, device)]
    while len(costs) < 3 and (not heavy if device.type == "cuda" else costs[0].seconds < _LONG_S):
        costs.append(cost_of(merge, device))
    middle = statistics.median_low if device.type == "cpu" else min
    seconds = middle([c.seconds for c in costs])
    cost = next(c for c in costs if c.seconds == seconds)
    used = sum(1 for m in config["models"] if m["model"] != BASE)
    # What the rule must move: each expert and (but for linear) the base read once, the result written once.
    moved = bank.parameters * bank.dtype.itemsize * (used + (label != "linear") + 1)
    found = {"cost": cost, "peak_mb": peak_mb(device) - options.interpreter_mb, "bytes": moved}
    if options.profile and device.type == "cuda" and not heavy:
        say({"bench": "merge-profile", "method": label, **profile(merge, device)}, options.out)
    return found


def profile(merge: Callable[[], None], device: torch.device) -> dict[str, Any]:
    """Return the host's seconds until all work is issued, the device's own seconds, and its longest kernels."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    begin.record()
    merge()
    end.record()
    host = time.perf_counter() - start
    torch.cuda.synchronize(device)
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as record:
        merge()
        torch.cuda.synchronize(device)
    rows = sorted(record.key_averages(), key=lambda row: -row.self_device_time_total)
    longest = {row.key[:60]: [row.count, round(row.self_device_time_total / 1e6, 4)] for row in rows[:6]}
    busy = sum(row.self_device_time_total for row in rows) / 1e6
    return {
        "host_s": round(host, 4), "span_s": round(begin.elapsed_time(end) / 1e3, 4), "kernels_s": round(busy, 4),
        "longest": longest,
    }  # fmt: skip


def say(line: dict[str, Any], out: Path | None) -> None:
    """Print a line at once, and keep it."""
    print(json.dumps(line), flush=True)
    if out is not None:
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--experts", type=int, default=3)
    parser.add_argument("--placement", choices=["auto", "gpu", "compressed", "pinned"], default="auto")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--sequences", type=int, default=32, help="calibration sequences of 256 tokens an expert")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-mergekit", action="store_true")
    parser.add_argument("--profile", action="store_true", help="GPU: where the time goes")
    parser.add_argument("--out", type=Path, help="append every line to this file")
    options = parser.parse_args()
    options.interpreter_mb, options.peers = 0.0, {}
    options.size = options.size or ("9b" if options.device == "cuda" else "small")
    return options


def prepare(options: argparse.Namespace, folder: Path) -> tuple[ExpertBank, Any]:
    """Return the bank and the resident model."""
    device = torch.device(options.device)
    if device.type != "cuda":
        for label in options.methods or CPU_METHODS:
            method(label.partition(":")[0])  # imports mergekit before memory is measured
        bank, model = loaded(folder, "tiny", options.experts)
        measure("linear", bank, model, options)
        del bank, model
        gc.collect()
        options.interpreter_mb = resident_mb()
        return loaded(folder, options.size, options.experts)
    placement = Placement(options.placement)
    if placement is Placement.AUTO:
        placement = fitting_placement(options.size, options.experts, device)
    return random_bank(options.size, options.experts, device, placement), resident_model(options.size, device)


def loaded(folder: Path, size: str, experts: int) -> tuple[ExpertBank, Any]:
    """Write the checkpoints of a size; return them as a bank, and a model."""
    write_checkpoints(folder, size, experts)
    refs = {f"e{i}": ModelRef(str(folder / f"m{i + 1}")) for i in range(experts)}
    bank = ExpertBank.load(ModelRef(str(folder / "m0")), refs)
    return bank, AutoModelForCausalLM.from_pretrained(folder / "m0", dtype="auto").eval()


def line_for(label: str, bank: ExpertBank, model: Any, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure a method, and mergekit's command line where it has the method and files to read."""
    found = measure(label, bank, model, options)
    ours: Cost = found["cost"]
    line = {
        "bench": "merge", "method": label, "device": options.name, "size": options.size,
        "parameters": bank.parameters, "placement": str(bank.placement),
        "ours_s": round(ours.seconds, 4), "mergekit_s": None, "ratio": None, "peak_mb": round(found["peak_mb"]),
        "bandwidth_fraction": round(found["bytes"] / ours.seconds / options.bandwidth, 3),
    }  # fmt: skip
    if bank.device.type == "cpu":
        model_mb = bank.parameters * bank.dtype.itemsize / 1e6
        line |= {
            "memory_limit_mb": round((len(bank.experts) + 2) * model_mb),
            "ours_cpu_s": round(ours.cpu_seconds, 2), "ours_other_load": round(ours.other_load, 2),
        }  # fmt: skip
    compare = bool(bank.references) and not options.without_mergekit and importlib.util.find_spec("mergekit")
    if compare and (label in MERGEKIT_NAMES or not label.startswith("ra_")):
        paths = {n: str(bank.references[n]) for n in (BASE, *bank.experts)}
        peer = MERGEKIT_NAMES.get(label, label)  # several of ours have the same peer
        config = recipe(peer, paths[BASE], [paths[e] for e in bank.experts])
        theirs = options.peers.get(peer) or run_mergekit(config | {"out_dtype": "bfloat16"}, folder, options.threads)
        options.peers[peer] = theirs
        line |= {
            "mergekit_s": round(theirs.seconds, 2), "ratio": round(theirs.seconds / ours.seconds, 1),
            "mergekit_cpu_s": round(theirs.cpu_seconds, 2), "mergekit_other_load": round(theirs.other_load, 2),
            "cpu_ratio": round(theirs.cpu_seconds / max(ours.cpu_seconds, 0.01), 1),
            "mergekit_peak_mb": round(theirs.peak_mb),
        }  # fmt: skip
    return line


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    options.name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bank, model = prepare(options, folder)
        options.bandwidth = bandwidth(device)
        machine = {"bench": "merge-machine", "device": options.name, "copy_gb_s": round(options.bandwidth / 1e9),
                   "torch": torch.__version__, "threads": options.threads, "cores": os.cpu_count(),
                   "interpreter_mb": round(options.interpreter_mb)}  # fmt: skip
        say(machine, options.out)
        for label in options.methods or (GPU_METHODS if device.type == "cuda" else CPU_METHODS):
            try:
                say(line_for(label, bank, model, options, folder), options.out)
            except (ResearchAgentError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
                say({"bench": "merge", "method": label, "error": f"{type(error).__name__}: {error}"[:500]}, options.out)
        fingerprint = timed(lambda: checksum(model.named_parameters()), device)
        found = {
            "bench": "merge-check",
            "checksum": checksum(model.named_parameters()),
            "seconds": round(fingerprint, 4),
        }
        say(found, options.out)


if __name__ == "__main__":
    main()
