"""Tiny real checkpoints (random Llama and Gemma-2) with a tokenizer: a base and experts of it, on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from core.merging_table import recipe_config
from core.types.recipe import Recipe
from worker.merge.bank import ExpertBank, ModelRef, Placement
from worker.merge.context import Calibration
from worker.merge.gradients import language_loss

VOCABULARY = 96
_SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": True,
}  # fmt: skip
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SMALL)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_SMALL, sliding_window=16)),
}


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w3"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="w3", bos_token="w1", eos_token="w2",
        chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}",
    )  # fmt: skip


def write_models(directory: Path, family: str, dtype: torch.dtype = torch.bfloat16, experts: int = 3) -> Path:
    torch.manual_seed(7)
    model = FAMILIES[family]()
    origin = {n: p.detach().clone() for n, p in model.named_parameters()}
    for number in range(experts + 1):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator) * 0.01 * number
                parameter.copy_(origin[name] + noise)
        target = directory / ("base" if number == 0 else f"expert{number}")
        # save a copy in the wanted dtype: the fp32 model stays the source of the next expert
        saved = FAMILIES[family]()
        saved.load_state_dict(model.state_dict())
        saved.to(dtype).save_pretrained(target)
        tokenizer().save_pretrained(target)
    return directory


def load_bank(directory: Path, experts: int = 3, placement: Placement = Placement.AUTO) -> ExpertBank:
    refs = {f"expert{i}": ModelRef(str(directory / f"expert{i}")) for i in range(1, experts + 1)}
    return ExpertBank.load(ModelRef(str(directory / "base")), refs, placement)


def load_model(directory: Path, name: str = "base") -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory / name, dtype="auto").eval()


EXPERTS = ("expert1", "expert2", "expert3")


def text(seed: int, batches: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(4, VOCABULARY, (3, 20), generator=generator) for _ in range(batches))


def calibration(score: Any = None) -> Calibration:
    return Calibration({e: text(i) for i, e in enumerate(EXPERTS)}, score)


def near_third(model: nn.Module) -> float:
    """A score that prefers the third expert's text."""
    with torch.no_grad():
        return -float(language_loss(model, text(2)[0]))


SMALL: dict[str, dict[str, Any]] = {
    "ra_regmean": {}, "ra_regmean_pp": {}, "ra_camex": {}, "ra_sens": {}, "ra_df": {"initial": 2, "iterations": 1},
    "ra_calm": {"epochs": 2}, "ra_adarank": {"steps": 3, "rank": 8}, "ra_symerge": {"steps": 3},
    "ra_hi": {"groups": 2}, "ra_adaptive_lora": {"steps": 3, "rank": 8}, "ra_evolutionary": {"groups": 1, "trials": 4},
}  # fmt: skip


def calibrated_recipe(name: str, experts: tuple[str, ...] = EXPERTS, weight: float = 0.4) -> Recipe:
    parameters = SMALL.get(name, {})
    return Recipe(method=name, config=recipe_config(name, "base", dict.fromkeys(experts, weight), **parameters))
