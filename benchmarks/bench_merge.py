"""Times every method: recipe → a resident model ready to generate; one JSON line a method.

On CPU the same recipes are also run by mergekit's command line plus loading its result, on a synthetic Gemma-2 shaped
checkpoint (`--size small`). On a GPU the weights are made on the device (`--size 9b`: Gemma-2-9B); mergekit isn't
needed there, nor pydantic. `--placement compressed` keeps experts as 4-bit deltas (80 GB machines).
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from core.merging_table import recipe_config
from worker.merge.apply import resolve, write_targets
from worker.merge.bank import BASE, ExpertBank, ModelRef, Placement
from worker.merge.context import Calibration
from worker.merge.kernels.quantization import quantize
from worker.merge.memory import peak_mb, reset_peak
from worker.merge.stores import DeltaStore, MemoryStore
from worker.merge.targets import checksum, resident_targets

SIZES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 10,
              "num_key_value_heads": 5, "head_dim": 64, "vocab_size": 32000},
    "2b": {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
           "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000},
    "9b": {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
           "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000},
}  # fmt: skip
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


def config_of(size: str) -> Gemma2Config:
    return Gemma2Config(**SIZES[size], max_position_embeddings=4096, tie_word_embeddings=True)


def recipe(label: str, base: str, experts: list[str]) -> dict[str, Any]:
    name, _, scope = label.partition(":")
    most = {"slerp": 1, "nearswap": 1, "arcee_fusion": 1, "nuslerp": 2}.get(name, len(experts))
    extra: dict[str, Any] = {"scope": scope} if scope else {}
    config = recipe_config(name, base, dict.fromkeys(experts[:most], 0.4), **extra)
    if name in {"ties", "ra_ties"}:
        for model in config["models"]:  # type: ignore[attr-defined]
            model["parameters"]["density"] = 0.2
    return config


@torch.no_grad()
def random_bank(size: str, experts: int, device: torch.device, placement: Placement) -> ExpertBank:
    """Make base and experts on the device: N(0, 0.02), updates a tenth of that."""
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in Gemma2ForCausalLM(config_of(size)).named_parameters()}
    base = {n: torch.randn(s, device=device, dtype=torch.bfloat16).mul_(0.02) for n, s in shapes.items()}
    layers = SIZES[size]["num_hidden_layers"]
    origin = MemoryStore(base)
    stores: dict[str, Any] = {BASE: origin}
    for i in range(experts):
        held: dict[str, Any] = {}
        for name, tensor in base.items():
            update = torch.randn_like(tensor).mul_(0.002)
            held[name] = quantize(update, 4, grouped=True) if placement is Placement.COMPRESSED else update.add_(tensor)
        stores[f"e{i}"] = DeltaStore(origin, held) if placement is Placement.COMPRESSED else MemoryStore(held)
    ordered = dict(sorted(shapes.items()))
    return ExpertBank(stores, ordered, torch.bfloat16, placement, device, layers)


def resident_model(size: str, device: torch.device) -> Gemma2ForCausalLM:
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Gemma2ForCausalLM(config_of(size))
    torch.set_default_dtype(torch.float32)
    return model.eval()


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

    heavy = label.startswith(("ra_star", "ra_regmean"))
    if device.type == "cuda" and not heavy:
        merge()  # compiles the kernels
    reset_peak(device)
    seconds = min(timed(merge, device) for _ in range(1 if heavy or device.type == "cpu" else 3))
    used = sum(1 for m in config["models"])
    moved = bank.parameters * bank.dtype.itemsize * (used + (label != "linear") + 1)
    return {"seconds": seconds, "peak_mb": peak_mb(device), "bytes": moved}


def mergekit_seconds(config: dict[str, Any], folder: Path) -> float:
    """Run mergekit's command line on the recipe and load its result, each in a fresh process."""
    out = folder / "mergekit-out"
    (folder / "recipe.yml").write_text(json.dumps(config))
    start = time.perf_counter()
    program = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(folder / "recipe.yml"), str(out)]
    subprocess.run([*program, "--random-seed", "0", "--quiet", "--no-copy-tokenizer"], check=True, capture_output=True)
    load = f"from transformers import AutoModelForCausalLM as M; M.from_pretrained({str(out)!r}, dtype='auto')"
    subprocess.run([sys.executable, "-c", load], check=True, capture_output=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def write_checkpoints(folder: Path, size: str, experts: int) -> ExpertBank:
    model = resident_model(size, torch.device("cpu"))
    refs = {}
    for i in range(experts + 1):
        if i:
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(torch.randn_like(p).mul_(0.002))
        model.save_pretrained(folder / f"m{i}")
        refs[f"e{i - 1}"] = ModelRef(str(folder / f"m{i}"))
    return ExpertBank.load(refs.pop("e-1"), refs)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--experts", type=int, default=3)
    parser.add_argument("--placement", choices=["gpu", "compressed"], default="gpu")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--sequences", type=int, default=32, help="calibration sequences of 256 tokens an expert")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-mergekit", action="store_true")
    options = parser.parse_args()
    options.size = options.size or ("9b" if options.device == "cuda" else "small")
    return options


def main() -> None:
    options = arguments()
    device = torch.device(options.device)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if device.type == "cuda":
            bank = random_bank(options.size, options.experts, device, Placement(options.placement))
            model: Any = resident_model(options.size, device)
        else:
            bank = write_checkpoints(folder, options.size, options.experts)
            model = AutoModelForCausalLM.from_pretrained(folder / "m0", dtype="auto").eval()
        compare = device.type == "cpu" and not options.without_mergekit and importlib.util.find_spec("mergekit")
        peak = bandwidth(device)
        for label in options.methods or (GPU_METHODS if device.type == "cuda" else CPU_METHODS):
            found = measure(label, bank, model, options)
            theirs = None
            if compare and (label in MERGEKIT_NAMES or not label.startswith("ra_")):
                paths = {n: str(bank.references[n]) for n in (BASE, *bank.experts)}
                config = recipe(MERGEKIT_NAMES.get(label, label), paths[BASE], [paths[e] for e in bank.experts])
                theirs = mergekit_seconds(config | {"out_dtype": "bfloat16"}, folder)
            line = {
                "bench": "merge", "method": label, "device": str(device), "size": options.size,
                "parameters": bank.parameters, "placement": str(bank.placement),
                "ours_s": round(found["seconds"], 4), "mergekit_s": theirs and round(theirs, 2),
                "ratio": theirs and round(theirs / found["seconds"], 1), "peak_mb": round(found["peak_mb"]),
                "bandwidth_fraction": round(found["bytes"] / found["seconds"] / peak, 3),
            }  # fmt: skip
            print(json.dumps(line), flush=True)
        print(json.dumps({"bench": "merge-check", "checksum": checksum(model.named_parameters())}), flush=True)


if __name__ == "__main__":
    main()
