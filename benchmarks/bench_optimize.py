"""`make bench-optimize`: the search on surfaces with known optima, and on real small experts.

    python -m benchmarks.bench_optimize [--seeds 30] [--real DIR/result.json]

`--real` takes in what `benchmarks.optimize_real` measured on a machine with a GPU; without it the committed real half
stays as it is, marked by its own date and device. The last line is JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks import optimize_synthetic

RESULTS = Path(__file__).parent / "results" / "optimize.json"
SHOWN = ("evaluations_ours", "evaluations_cmaes", "ratio", "lost_best_rate", "stated_error")
REAL = ("gain_over_best_screened", "interval", "gain_over_random", "gain_over_cmaes")


def real(given: Path | None) -> dict[str, Any] | None:
    """Return the real half: the file given, else what was committed; None where nothing was measured yet."""
    if given is not None:
        found: dict[str, Any] = json.loads(given.read_text())
        return found
    return json.loads(RESULTS.read_text()).get("real") if RESULTS.exists() else None  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--real", type=Path, help="result.json of benchmarks.optimize_real")
    parser.add_argument("--keep-synthetic", action="store_true", help="take the committed synthetic half as it is")
    options = parser.parse_args()
    started = time.monotonic()
    measured = real(options.real)
    kept = json.loads(RESULTS.read_text())["synthetic"] if options.keep_synthetic else None
    synthetic = kept or optimize_synthetic.run(options.seeds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"synthetic": synthetic, "real": measured}, indent=1) + "\n")
    for name, value in synthetic.items():
        print(f"{name}: {value}")
    print(f"{time.monotonic() - started:.0f} s; real half measured on {(measured or {}).get('device', 'nothing yet')}")
    line = {
        "bench": "optimize",
        "synthetic": {k: synthetic[k] for k in SHOWN},
        "real": {k: measured.get(k) for k in REAL} if measured else None,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
