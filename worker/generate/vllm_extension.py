"""What runs inside vLLM's worker process: base and experts beside the live model, candidates merged into it in place.

Named by `worker_extension_cls` and called by `collective_rpc`. The bank, the rules and the kernels are those of
`worker.merge`: fused parameters (q/k/v, gate/up) are written through views of the rows that belong to each checkpoint
name, so that rules per matrix see the matrices they were made for. Unquantized models on one GPU only.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from worker.generate.vllm_sampler import replace_draw
from worker.merge.apply import resolve, write_targets
from worker.merge.bank import ExpertBank, ModelRef, Placement
from worker.merge.memory import peak_mb, reset_peak
from worker.merge.targets import checksum, resident_targets


def checkpoint_tensors(directory: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the names and tensors of a safetensors checkpoint; no pickle is ever opened."""
    for file in sorted(Path(directory).glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, opened.get_tensor(name)


class CandidateWeights:
    """Methods that vLLM mixes into its GPU worker; vLLM refuses any name that the worker already has."""

    model_runner: Any
    _candidate_bank: ExpertBank

    def _candidate_model(self) -> torch.nn.Module:
        model: torch.nn.Module = self.model_runner.get_model()
        return model

    def candidate_draw(self) -> bool:
        """Draw tokens as the transformers engine does, faster than vLLM; return whether that is possible here."""
        return replace_draw(self.model_runner)

    def candidate_hold(
        self, base: Mapping[str, Any], experts: Mapping[str, Mapping[str, Any]], placement: str = "auto"
    ) -> dict[str, Any]:
        """Load base and experts once, each given as a ModelRef's fields; return what the bank is and where it lies."""
        references = {name: ModelRef(**fields) for name, fields in experts.items()}
        bank = ExpertBank.load(ModelRef(**base), references, Placement(placement), device=self._candidate_device())
        return self._candidate_keep(bank)

    def _candidate_keep(self, bank: ExpertBank) -> dict[str, Any]:
        resident_targets(self._candidate_model(), bank.shapes)  # raises where the model has no place for a tensor
        self._candidate_bank = bank
        return {"parameters": bank.parameters, "placement": str(bank.placement), "experts": list(bank.experts)}

    def _candidate_device(self) -> torch.device:
        return next(self._candidate_model().parameters()).device

    def candidate_merge(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Merge a recipe of the bank's names into the live parameters; return seconds, checksum and peak memory."""
        model, bank = self._candidate_model(), self._candidate_bank
        started = time.perf_counter()
        reset_peak(bank.device)
        write_targets(resident_targets(model, bank.shapes), bank, resolve(config, bank))
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "checksum": self.candidate_checksum(), "peak_mb": peak_mb(bank.device)}

    @torch.inference_mode()
    def candidate_load(self, directory: str) -> str:
        """Load a checkpoint (a candidate merged elsewhere) into the live parameters; return their checksum."""
        self._candidate_model().load_weights(checkpoint_tensors(directory))  # type: ignore[operator]
        torch.cuda.synchronize()
        return self.candidate_checksum()

    def candidate_checksum(self) -> str:
        """Return the fingerprint of the live parameters, as vLLM holds them."""
        return checksum(self._candidate_model().named_parameters())
