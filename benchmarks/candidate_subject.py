"""The engine that the candidate bench measures, with random weights, and how a recipe gets into them."""

import argparse
import importlib
import tempfile
import time
from typing import Any

import torch

from benchmarks.bench_generate import Work, plain
from benchmarks.bench_merge import say
from benchmarks.random_experts import config_of, random_bank, resident_model
from core.types.recipe import Recipe
from worker.generate.port import Draw, EngineOptions, StopRule
from worker.generate.transformers_engine import TransformersEngine
from worker.merge.apply import merge_into
from worker.merge.bank import ExpertBank, Placement
from worker.protocols.code import Bigcode

EXTENSION = "benchmarks.random_experts.RandomExperts"


class Subject:
    """The engine under test, its bank, and how a recipe gets into its weights."""

    def __init__(self, options: argparse.Namespace, tokenizer: Any) -> None:
        self._options = options
        self._bank: ExpertBank | None = None
        started = time.perf_counter()
        self.engine: Any = self._vllm(tokenizer) if options.engine == "vllm" else self._transformers(tokenizer)
        self.start_s = time.perf_counter() - started

    def _transformers(self, tokenizer: Any) -> TransformersEngine:
        options = self._options
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = resident_model(options.size, device)
        if options.plain_problems:
            self._plain(model, tokenizer)
        self._bank = random_bank(options.size, 3, device, Placement(options.placement))
        return TransformersEngine(model, tokenizer, rows=options.rows)

    def _plain(self, model: Any, tokenizer: Any) -> None:
        """Time plain `generate` at batch 10, as the tutorial's script does."""
        options = self._options
        protocol = Bigcode()
        items = options.items[: options.plain_problems]
        prompts = [protocol.prompt_ids(item, tokenizer) for item in items]
        stop = StopRule(protocol.stop_rule(tokenizer, frozenset()).strings)
        model.set_attn_implementation("eager")  # as the tutorial's script has it for this family
        plain(model, tokenizer, Work(prompts, Draw(0.2, 0.95, None, 8), stop), 1)
        longest = options.max_length - max(map(len, prompts))
        seconds, tokens = plain(model, tokenizer, Work(prompts, Draw(0.2, 0.95, None, longest), stop), len(prompts))
        line = {"bench": "generate-plain", "tokens": tokens, "seconds": round(seconds, 2), "problems": len(prompts)}
        say(line | {"device": options.name, "tokens_per_s": round(tokens / seconds, 1)}, options.lines)

    def _vllm(self, tokenizer: Any) -> Any:
        options = self._options
        module = importlib.import_module("worker.generate.vllm_engine")
        with tempfile.TemporaryDirectory() as folder:
            config = config_of(options.size)
            config.architectures = ["Gemma2ForCausalLM"]
            config.save_pretrained(folder)
            llm = module.start(
                folder, EngineOptions(rows=options.rows, memory_share=options.memory_share), load_format="dummy",
                max_model_len=1024, worker_extension_cls=EXTENSION,
            )  # fmt: skip
        how = {"seeded": not options.no_sample_seeds, "own_draw": not options.vllm_sampler}
        engine = module.VllmEngine(llm, tokenizer, frozenset(), **how)
        engine._everywhere("candidate_hold_random", options.size, 3, options.placement)
        return engine

    def put(self, config: dict[str, Any]) -> dict[str, Any]:
        """Make a recipe's merge the live weights."""
        started = time.perf_counter()
        if self._bank is not None:
            report = merge_into(self.engine.model, self._bank, Recipe(method=config["merge_method"], config=config))
            self.engine.weights_changed()
        else:
            report = self.engine.merge(config)
        total = time.perf_counter() - started
        return {"write_s": round(report.seconds, 4), "ready_s": round(total, 4), "checksum": report.checksum}
