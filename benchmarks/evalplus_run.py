"""Grade a samples file with EvalPlus and print its seconds and verdicts as JSON. Runs in EvalPlus's own environment.

    python evalplus_run.py SAMPLES.jsonl CORES MIN_TIME_LIMIT

`HUMANEVAL_OVERRIDE_PATH` names the problems. Preparing expected outputs is timed apart.
"""

import json
import os
import sys
import time
from pathlib import Path

from evalplus.data import get_human_eval_plus, get_human_eval_plus_hash
from evalplus.evaluate import evaluate, get_groundtruth


def main() -> None:
    samples, cores, limit = sys.argv[1:]
    started = time.perf_counter()
    get_groundtruth(get_human_eval_plus(), get_human_eval_plus_hash(), [])
    prepared = time.perf_counter()
    evaluate("humaneval", samples, parallel=int(cores), min_time_limit=float(limit))
    seconds = time.perf_counter() - prepared
    results = json.loads(Path(samples.replace(".jsonl", "_eval_results.json")).read_text())
    verdicts = {
        task_id: [[row["base_status"], row["plus_status"]] for row in rows] for task_id, rows in results["eval"].items()
    }
    report = {"prepare_s": prepared - started, "seconds": seconds, "verdicts": verdicts}
    Path(samples + ".report").write_text(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)  # a thread of EvalPlus sleeps on for up to 20 s


if __name__ == "__main__":
    main()
