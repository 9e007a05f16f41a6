"""The real half of `make bench-optimize`: ours, CMA-ES, random search and the best screened method, on real merges.

    python -m benchmarks.optimize_real --base CHECKPOINT --out DIR [--minutes 8] [--seeds 5] [--limit 4 --budgets 2 4]

One process a seed and one for the screening, all on one device. Every arm may use the same number of item evaluations
on search items (`--budgets`, in full evaluations; the last one decides and was fixed before anything was run); what it
names then is measured on confirm items, which nothing was chosen by. The same command goes on where it was stopped.
`DIR/result.json` has everything; the last line is JSON. `bench_optimize --real DIR/result.json` takes it in.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.optimize_arms import ARMS
from benchmarks.real_bench import SCREENING, Notebook, OutOfTimeError, Remembered, result, work
from benchmarks.small_experts import Machine, grading_tier, item_ids, open_experts, read_slots

BUDGETS = (10, 20, 40)
SEEDS = 5


def process(options: argparse.Namespace) -> None:
    """Be one of the processes: a seed, or the screening."""
    screening = options.process == options.seeds
    seed = 0 if screening else options.process
    arms = (SCREENING,) if screening else tuple(a for a in ARMS if a != SCREENING)
    notebook = Notebook.open(options.out / f"{SCREENING if screening else f'seed-{seed}'}.jsonl")
    torch.set_num_threads(options.threads)
    machine = Machine(options.base, options.dtype, options.tier, options.graders, options.limit)
    with open_experts(machine) as experts:
        evaluator = Remembered(experts, notebook, options.started + 60 * options.minutes)
        try:
            work(evaluator, notebook, arms, (seed, tuple(options.budgets)))
        except OutOfTimeError:
            print(f"process {options.process}: out of time", flush=True)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start all processes, wait for them, and return what came of it."""
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.optimize_real", *sys.argv[1:], "--started", str(started)]
    children = [subprocess.Popen([*command, "--process", str(n)]) for n in range(options.seeds + 1)]
    codes = [child.wait() for child in children]
    slots = {role: read_slots(role, options.limit) for role in ("search", "confirm")}
    found = result(options.out, item_ids(slots["confirm"]), (options.seeds, tuple(options.budgets)))
    found |= {
        "items": {role: {n: len(ids) for n, ids in item_ids(s).items()} for role, s in slots.items()},
        "seconds": round(time.time() - started), "exit_codes": codes, "grader": options.tier or grading_tier(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "dtype": options.dtype or "the engine's default", "torch": torch.__version__,
    }  # fmt: skip
    (options.out / "result.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="checkpoint made by examples/smollm-merge/base.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop evaluating after so long")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="in full evaluations")
    parser.add_argument("--limit", type=int, help="items a benchmark, to try the bench out")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"))
    parser.add_argument("--tier", choices=("bubblewrap", "subprocess"), help="sandbox of the graders")
    parser.add_argument("--graders", type=int, default=2, help="grading workers a process")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch a process")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = arguments().parse_args()
    if options.process is not None:
        process(options)
        return
    found = run(options)
    print(json.dumps({k: v for k, v in found.items() if k != "curve"}))
    if any(found["exit_codes"]):
        sys.exit("A process failed: its message is above. The same command goes on with what is missing.")


if __name__ == "__main__":
    main()
