"""`make bench-optimize`: the search on surfaces with known optima, and on real small experts.

    python -m benchmarks.bench_optimize [--seeds 30] [--evaluator module:function] [--budget 3000]

`--evaluator` names a function without arguments that returns an `optimize_real.RealEvaluator`; without it the real half
is null. The last line is JSON.
"""

import argparse
import importlib
import json
import time
from pathlib import Path

from benchmarks import optimize_real, optimize_synthetic

RESULTS = Path(__file__).parent / "results" / "optimize.json"
SHOWN = ("evaluations_ours", "evaluations_cmaes", "ratio", "lost_best_rate", "stated_error")
REAL = ("gain_over_best_screened", "interval", "gain_over_random", "gain_over_cmaes")


def real(name: str | None, budget: int) -> dict[str, object] | None:
    """Return the real half's results, or None without an evaluator."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    return optimize_real.run(getattr(importlib.import_module(module), function)(), budget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--evaluator")
    parser.add_argument("--budget", type=int, default=3000, help="item evaluations of every arm of the real half")
    options = parser.parse_args()
    started = time.monotonic()
    synthetic = optimize_synthetic.run(options.seeds)
    measured = real(options.evaluator, options.budget)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"synthetic": synthetic, "real": measured}, indent=1) + "\n")
    for name, value in synthetic.items():
        print(f"{name}: {value}")
    print(f"{time.monotonic() - started:.0f} s")
    line = {
        "bench": "optimize",
        "synthetic": {k: synthetic[k] for k in SHOWN},
        "real": {k: measured[k] for k in REAL} if measured else None,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
