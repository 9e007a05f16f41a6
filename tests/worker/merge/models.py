"""Tiny real checkpoints (random Llama and Gemma-2) with a tokenizer: a base and experts of it, on disk."""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from worker.merge.bank import ExpertBank, ModelRef, Placement

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
