"""A bank and a resident model with random weights of Gemma 2's shapes, made where they are needed, never on disk.

`RandomExperts` makes the same bank inside vLLM's worker process, beside a model that was loaded with dummy weights.
"""

from typing import Any

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from worker.generate.vllm_extension import CandidateWeights
from worker.merge.bank import BASE, ExpertBank, Placement
from worker.merge.kernels.quantization import quantize
from worker.merge.stores import DeltaStore, MemoryStore

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 50176},
    "small": {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 10,
              "num_key_value_heads": 5, "head_dim": 64, "vocab_size": 32000},
    "1b": {"hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 24, "num_attention_heads": 8,
           "num_key_value_heads": 4, "head_dim": 192, "vocab_size": 32000},
    "2b": {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
           "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000},
    "9b": {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
           "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000},
}  # fmt: skip
_RESERVE = 12 << 30  # for caches and temporaries beside the weights


def config_of(size: str) -> Gemma2Config:
    return Gemma2Config(
        **SIZES[size], max_position_embeddings=8192, sliding_window=4096, attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0, query_pre_attn_scalar=SIZES[size]["head_dim"], tie_word_embeddings=True,
    )  # fmt: skip


def shapes_of(size: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = Gemma2ForCausalLM(config_of(size))
    return {name: tuple(parameter.shape) for name, parameter in sorted(model.named_parameters())}


def fitting_placement(size: str, experts: int, device: torch.device) -> Placement:
    """Return where base and experts can lie beside a resident model: the device in full, or as 4-bit deltas there."""
    if device.type != "cuda":
        return Placement.PINNED
    model = 2 * sum(torch.Size(shape).numel() for shape in shapes_of(size).values())
    free = torch.cuda.mem_get_info(device)[0] - _RESERVE
    return Placement.GPU if (experts + 2) * model < free else Placement.COMPRESSED


@torch.no_grad()
def random_bank(size: str, experts: int, device: torch.device, placement: Placement) -> ExpertBank:
    """Make base and experts: N(0, 0.02), updates a tenth of that. Pinned ones are made on the device and copied."""
    shapes = shapes_of(size)
    generator = torch.Generator(device=device).manual_seed(0)

    def drawn(shape: tuple[int, ...], scale: float) -> torch.Tensor:
        made = torch.empty(shape, device=device, dtype=torch.bfloat16)
        return made.normal_(0.0, scale, generator=generator)

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        if placement is not Placement.PINNED or device.type != "cuda":
            return tensor
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)

    base, held = {}, [dict[str, Any]() for _ in range(experts)]
    for name, shape in shapes.items():
        origin = drawn(shape, 0.02)
        base[name] = placed(origin)
        for expert in held:
            update = drawn(shape, 0.002)
            if placement is Placement.COMPRESSED:
                expert[name] = quantize(update, 4, grouped=True)
            else:
                expert[name] = placed(update.add_(origin))
    store = MemoryStore(base)
    kept = [DeltaStore(store, e) if placement is Placement.COMPRESSED else MemoryStore(e) for e in held]
    stores: dict[str, Any] = {BASE: store} | {f"e{i}": expert for i, expert in enumerate(kept)}
    return ExpertBank(stores, shapes, torch.bfloat16, placement, device, SIZES[size]["num_hidden_layers"])


def resident_model(size: str, device: torch.device) -> Gemma2ForCausalLM:
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Gemma2ForCausalLM(config_of(size))
    torch.set_default_dtype(torch.float32)
    model.generation_config.eos_token_id = None
    return model.eval()


class RandomExperts(CandidateWeights):
    """What runs in vLLM's worker: a random bank beside the live model."""

    def candidate_hold_random(self, size: str, experts: int, placement: str) -> dict[str, Any]:
        """Make the bank on the worker's device; return what it is."""
        return self._candidate_keep(random_bank(size, experts, self._candidate_device(), Placement(placement)))
