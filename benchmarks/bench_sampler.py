"""One draw of every row's next token on a GPU: our kernel beside a top-k cut and, where installed, vLLM's sampler.

    python -m benchmarks.bench_sampler [--rows 640] [--vocabulary 256000]

Logits are random: `flat` and `mid` are normal with a deviation of 1 and 2, in `peaked` one token a row lies 8 above.
Temperature 0.2, top_p 0.95, seeds of their own. `same` counts rows for which the kernel draws what sorting draws.
"""

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.bench_merge import say
from worker.generate import nucleus, sampling
from worker.generate.draw_rows import DrawRows

KINDS = {"flat": (1.0, 0.0), "mid": (2.0, 0.0), "peaked": (2.0, 8.0)}


def milliseconds(work: Callable[[], Any], repeats: int = 10) -> float:
    """Return the mean time of one call, the device's work included."""
    work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return round((time.perf_counter() - started) / repeats * 1e3, 3)


def vllms(logits: torch.Tensor, rows: DrawRows) -> Callable[[], Any] | None:
    """Return vLLM 0.26's way: temperature, top-p and Gumbel draw, in place on a copy; None where it isn't installed."""
    if importlib.util.find_spec("vllm") is None:
        return None
    filters = importlib.import_module("vllm.v1.sample.ops.topk_topp_sampler")
    draws = importlib.import_module("vllm.v1.worker.gpu.sample.gumbel")
    numbers = torch.arange(len(logits), dtype=torch.int32, device=logits.device)

    def work() -> Any:
        copy = logits.clone()
        draws.apply_temperature(copy, numbers, rows.temperature)
        copy = filters.apply_top_k_top_p(copy, None, rows.top_p)
        return draws.gumbel_sample(copy, numbers, rows.temperature, rows.seeds, rows.steps, apply_temperature=False)

    return work


def measure(kind: str, dtype: torch.dtype, count: int, vocabulary: int) -> dict[str, Any]:
    """Time all ways on one kind of logits."""
    deviation, peak = KINDS[kind]
    device = torch.device("cuda")
    made = torch.Generator(device).manual_seed(1)
    logits = torch.randn((count, vocabulary), generator=made, device=device) * deviation
    numbers = torch.arange(count, device=device)
    logits[numbers, numbers % vocabulary] += peak
    logits = logits.to(dtype)
    rows = DrawRows(torch.full_like(logits[:, 0], 0.2, dtype=torch.float32), torch.full((count,), 0.95, device=device),
                    numbers * 10**12, numbers)  # fmt: skip
    theirs = vllms(logits, rows)
    return {
        "bench": "sampler", "kind": kind, "dtype": str(dtype).removeprefix("torch."), "rows": count,
        "vocabulary": vocabulary, "device": torch.cuda.get_device_name(),
        "same": int((nucleus.draw(logits, rows) == sampling.by_sorting(logits, rows)).sum()),
        "ours_ms": milliseconds(lambda: nucleus.draw(logits, rows)),
        "top_k_ms": milliseconds(lambda: sampling._draw(sampling._by_top(logits, rows.temperature), rows)),
        "vllm_ms": milliseconds(theirs) if theirs else None, "copy_ms": milliseconds(logits.clone),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--vocabulary", type=int, default=256_000)
    options = parser.parse_args()
    for dtype in (torch.bfloat16, torch.float32):
        for kind in KINDS:
            say(measure(kind, dtype, options.rows, options.vocabulary), None)


if __name__ == "__main__":
    main()
