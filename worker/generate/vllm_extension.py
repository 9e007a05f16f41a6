"""What runs inside vLLM's worker process: base and experts beside the live model, candidates written into it in place.

Named by `worker_extension_cls` and called by `collective_rpc`. Checkpoints enter through the model's own loader, so
that every architecture's fused parameters (q/k/v, gate/up) are filled the way vLLM fills them; what is kept are copies
of the parameters after that. Linear rules commute with fusing; rules per matrix do not and are refused by the engine.
Unquantized models on one GPU only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

_CHECK_STRIDE = 1009
_CHUNK = 1 << 26
# The embedding's policy (merging.md): from the base.
_FROM_BASE = ("embed_tokens", "lm_head")


def checkpoint_tensors(directory: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the names and tensors of a safetensors checkpoint; no pickle is ever opened."""
    for file in sorted(Path(directory).glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, opened.get_tensor(name)


class CandidateWeights:
    """Methods that vLLM mixes into its GPU worker; vLLM refuses any name that the worker already has."""

    model_runner: Any

    def _candidate_model(self) -> Any:
        return self.model_runner.get_model()

    def _candidate_parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self._candidate_model().named_parameters())

    @torch.inference_mode()
    def candidate_hold(self, base: str, experts: Sequence[str]) -> int:
        """Load base and experts, keep copies of their fused parameters on the device; return their bytes."""
        model = self._candidate_model()
        held = []
        for directory in (*experts, base):
            model.load_weights(checkpoint_tensors(directory))
            held.append({name: value.detach().clone() for name, value in self._candidate_parameters().items()})
        # The base is loaded last, so that it is what the model now holds.
        self._candidate_base = held.pop()
        self._candidate_experts = held
        return sum(v.nbytes for tensors in (self._candidate_base, *held) for v in tensors.values())

    @torch.inference_mode()
    def candidate_write(self, coefficients: Sequence[float]) -> float:
        """Write base + Σ c·(expert − base), summed in float32, into the live parameters; return their checksum."""
        if len(coefficients) != len(self._candidate_experts):
            raise ValueError(f"{len(coefficients)} coefficients for {len(self._candidate_experts)} experts")
        for name, live in self._candidate_parameters().items():
            if any(part in name for part in _FROM_BASE):
                live.copy_(self._candidate_base[name])
                continue
            parents = [expert[name].view(-1) for expert in self._candidate_experts]
            _blend(live.view(-1), self._candidate_base[name].view(-1), parents, coefficients)
        torch.cuda.synchronize()
        return self.candidate_checksum()

    @torch.inference_mode()
    def candidate_load(self, directory: str) -> float:
        """Load a checkpoint (a candidate merged elsewhere) into the live parameters; return their checksum."""
        self._candidate_model().load_weights(checkpoint_tensors(directory))
        torch.cuda.synchronize()
        return self.candidate_checksum()

    @torch.inference_mode()
    def candidate_checksum(self) -> float:
        """Return a sum over a sample of every parameter's elements, weighted by the parameter's place."""
        total = torch.zeros((), dtype=torch.float64, device="cuda")
        for place, live in enumerate(self._candidate_parameters().values(), 1):
            total += live.view(-1)[::_CHECK_STRIDE].double().sum() * place
        return float(total)


def _blend(
    live: torch.Tensor, base: torch.Tensor, experts: Sequence[torch.Tensor], coefficients: Sequence[float]
) -> None:
    """Write base + Σ c·(expert − base) into `live`, in chunks so that float32 copies stay small."""
    for start in range(0, live.numel(), _CHUNK):
        part = slice(start, start + _CHUNK)
        origin = base[part].float()
        total = origin.clone()
        for expert, coefficient in zip(experts, coefficients, strict=True):
            if coefficient:
                total.add_(expert[part].float().sub_(origin), alpha=coefficient)
        live[part].copy_(total)
