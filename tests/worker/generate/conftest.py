"""Tiny real models: a byte-level tokenizer made here, and random Llama and Gemma 2 of a few thousand parameters."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<eos>", "<end_of_turn>", "<bos>")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Give a tokenizer with one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *alphabet))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", bos_token="<bos>")
    made.add_special_tokens({"additional_special_tokens": ["<end_of_turn>"]})
    return made


def shape(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
        "eos_token_id": 0, "bos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.4,
    }  # fmt: skip


@pytest.fixture
def llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Give a random Llama in float32."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**shape(tokenizer))).eval()


@pytest.fixture
def gemma(tokenizer: PreTrainedTokenizerFast) -> Gemma2ForCausalLM:
    """Give a random Gemma 2 whose window is shorter than the texts and whose soft-caps bite."""
    torch.manual_seed(0)
    config = Gemma2Config(**shape(tokenizer), sliding_window=12, attn_logit_softcapping=2.0, query_pre_attn_scalar=8)
    return Gemma2ForCausalLM(config).eval()
