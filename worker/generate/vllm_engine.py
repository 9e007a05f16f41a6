"""The vLLM engine: paged attention and prefix caching for GPUs, for when vLLM is installed (0.26 was read and tried).

Prompts go in as token ids and token ids come out: vLLM's incremental detokenizer has left `▁` in Gemma 2's code, so
text is made with the model's own tokenizer, and stop strings are found here. The weights live in vLLM's worker
process: `merge` computes a recipe there, from a bank held beside them.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vllm
from transformers import AutoTokenizer, GenerationConfig
from vllm.inputs import tokens_input
from vllm.sampling_params import RequestOutputKind

from core.errors import InvalidInputError, RunError
from core.merging import Kind, Need
from core.merging_table import declaration
from worker.generate.port import Completion, Draw, EngineOptions, GenerationRequest, InPlaceMerge, Tokenizer
from worker.generate.stops import Decoder, Growing
from worker.merge.bank import ModelRef

EXTENSION = "worker.generate.vllm_extension.CandidateWeights"
_ROWS = 512
_LONGEST = 4096
_RESET_TRIES = 100
_RESET_PAUSE_S = 0.02
# Set before the engine starts: no calls home, no sampler that compiles for minutes at the first step.
_ENVIRONMENT = {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class VllmEngine:
    """A model served by vLLM in this process's child; its weights change by `merge` or `load_candidate`.

    `own_draw` replaces vLLM's sampler by ours where that is possible (worker.generate.vllm_sampler).
    """

    def __init__(
        self, llm: Any, tokenizer: Any, eos_ids: frozenset[int], *, seeded: bool = True, own_draw: bool = True
    ) -> None:
        self._llm = llm
        self.tokenizer: Tokenizer = tokenizer
        self.eos_ids = eos_ids
        self._decoder = Decoder(tokenizer)
        self._calls = 0
        self._seeded = seeded
        self.context = int(llm.llm_engine.model_config.max_model_len)
        self._draws = "ours" if own_draw and self._everywhere("candidate_draw") else "vllm"

    @classmethod
    def load(
        cls,
        path: str | Path,
        options: EngineOptions = EngineOptions(),  # noqa: B008
        **settings: Any,
    ) -> "VllmEngine":
        """Start vLLM on a checkpoint; `settings` are vLLM's own (load_format="dummy" gives random weights)."""
        tokenizer = AutoTokenizer.from_pretrained(path, revision=options.revision, trust_remote_code=False)
        llm = start(path, options, **settings)
        return cls(llm, tokenizer, _end_tokens(path, tokenizer), seeded=options.sample_seeds)

    @property
    def model(self) -> Any:
        """Refuse: the parameters lie in vLLM's worker process."""
        raise InvalidInputError(
            "The vllm engine's weights can't be reached from here.",
            fix="Use hold() and merge(), load_candidate() for a checkpoint, or another engine.",
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        """Yield each completion as it finishes; samples of one prompt are neighbors, so that its prefix is cached."""
        growing: dict[str, Growing] = {}
        engine = self._llm.llm_engine
        self._calls += 1
        try:
            for number, request in enumerate(sorted(requests, key=_first)):
                sample = Growing(request, self._decoder, self.context)
                if sample.room == 0:
                    yield sample.finished("length")
                    continue
                name = f"{self._calls}-{number}"
                seeded = self._seeded and request.draw.temperature > 0
                params = _params(request, sample.room, request.sample_seed if seeded else None)
                engine.add_request(name, tokens_input(list(request.prompt_ids)), params)
                growing[name] = sample
            while growing:
                yield from self._settle(engine.step(), growing)
        finally:
            if growing:
                engine.abort_request(list(growing))

    def _settle(self, outputs: Sequence[Any], growing: dict[str, Growing]) -> Iterator[Completion]:
        for output in outputs:
            sample = growing.get(output.request_id)
            if sample is None:  # already ended by a stop string; its last tokens were under way
                continue
            reason = None
            for token in output.outputs[0].token_ids:
                reason = sample.add(int(token))
                if reason is not None:
                    break
            if reason is None and output.finished:
                reason = "length"
            if reason is not None:
                del growing[output.request_id]
                if not output.finished:
                    self._llm.llm_engine.abort_request([output.request_id])
                yield sample.finished(reason)

    # --- weights ---------------------------------------------------------------------------------------------------

    def hold(self, base: ModelRef, experts: Mapping[str, ModelRef], placement: str = "auto") -> Mapping[str, Any]:
        """Keep base and experts beside the live model; return their parameters, placement and names."""
        fields = {name: asdict(ref) for name, ref in experts.items()}
        held: Mapping[str, Any] = self._everywhere("candidate_hold", asdict(base), fields, placement)
        return held

    def merge(self, config: Mapping[str, Any]) -> InPlaceMerge:
        """Make a recipe's merge the live weights; raise InvalidInputError for methods that need more than weights."""
        entry = declaration(str(config.get("merge_method")))
        if entry.kind is not Kind.WEIGHTS or entry.needs != {Need.WEIGHTS}:
            raise InvalidInputError(
                f"{entry.title} needs {', '.join(sorted(entry.needs))} in the model's own process.",
                fix="Choose the transformers engine for it.",
            )
        made = InPlaceMerge(**self._everywhere("candidate_merge", dict(config)))
        self.weights_changed()
        return made

    def load_candidate(self, directory: str | Path) -> str:
        """Make a checkpoint's weights the live ones (any rule, merged elsewhere); return their checksum."""
        checksum = str(self._everywhere("candidate_load", str(directory)))
        self.weights_changed()
        return checksum

    def checksum(self) -> str:
        """Return the live weights' checksum."""
        return str(self._everywhere("candidate_checksum"))

    def weights_changed(self) -> None:
        """Drop cached prefixes: they were computed with the former weights."""
        # Blocks of samples that were just ended are freed when the step under way is over.
        for _ in range(_RESET_TRIES):
            if self._llm.reset_prefix_cache():
                return
            time.sleep(_RESET_PAUSE_S)
        raise RunError("vLLM could not drop its cached prefixes; scores would mix two candidates.")

    def modules_changed(self) -> None:
        """Nothing can be attached to a model in another process."""

    def _everywhere(self, method: str, *arguments: Any) -> Any:
        return self._llm.collective_rpc(method, args=arguments)[0]

    def describe(self) -> Mapping[str, str | int | float]:
        """Return what the record of an evaluation needs to tell how it was made."""
        config = self._llm.llm_engine.model_config
        return {
            "engine": "vllm",
            "version": f"vllm {vllm.__version__}",
            "device": "cuda",
            "dtype": str(config.dtype).removeprefix("torch."),
            "rows": int(self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs),
            "sampler": self._draws,
        }

    def close(self) -> None:
        """Stop vLLM's worker process."""
        self._llm.llm_engine.engine_core.shutdown()


def _first(request: GenerationRequest) -> tuple[int, int, tuple[int, ...]]:
    return -request.priority, -len(request.prompt_ids), request.prompt_ids


def start(path: str | Path, options: EngineOptions, **settings: Any) -> Any:
    """Start vLLM with what evaluation needs: no tokenizer inside, cached prefixes, our worker extension."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    rows = options.rows or _ROWS
    defaults: dict[str, Any] = {
        "model": str(path),
        "revision": options.revision,
        "skip_tokenizer_init": True,
        "dtype": options.dtype or "bfloat16",
        "max_num_seqs": rows,
        # vLLM records graphs of up to 512 rows; of more it launches every kernel from the host, which is slower.
        "compilation_config": {"max_cudagraph_capture_size": rows},
        "gpu_memory_utilization": options.memory_share,
        "enable_prefix_caching": True,
        "worker_extension_cls": EXTENSION,
        "trust_remote_code": False,
        "disable_log_stats": True,
        "max_model_len": _LONGEST,
    }
    return vllm.LLM(**(defaults | settings))


def _params(request: GenerationRequest, room: int, seed: int | None) -> Any:
    draw: Draw = request.draw
    return vllm.SamplingParams(
        temperature=draw.temperature,
        top_p=draw.top_p if draw.temperature > 0 else 1.0,
        max_tokens=room,
        seed=seed,
        stop_token_ids=sorted(request.stop.eos_ids),
        ignore_eos=True,
        detokenize=False,
        skip_special_tokens=False,
        output_kind=RequestOutputKind.DELTA,
    )


def _end_tokens(path: str | Path, tokenizer: Any) -> frozenset[int]:
    try:
        configured = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:
        configured = None
    found = tokenizer.eos_token_id if configured is None else configured
    return frozenset([found] if isinstance(found, int) else found or [])
