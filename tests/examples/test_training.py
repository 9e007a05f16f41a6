"""Training makes an adapter that peft, this example's scoring and the product's merging all understand alike."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import peft
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from worker.merge.adapter import LoraAdapter

# peft still reads a name that transformers is retiring
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep to one thread: these models are far too small to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny real Llama with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    vocabulary = {"<|im_start|>": 0, "<|im_end|>": 1}
    vocabulary |= {letter: i + 2 for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>")
    wrapped.pad_token, wrapped.chat_template = "<|im_end|>", TEMPLATE
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    code = [
        {"prompt": f'def f(x):\n    """Add {i}."""\n', "canonical_solution": f"    return x + {i}\n"} for i in range(24)
    ]
    math = [{"prompt": f"What is {i} + 1?", "solution": f"{i + 1}"} for i in range(24)]
    (folder / "code.jsonl").write_text("".join(json.dumps(item) + "\n" for item in code))
    (folder / "math.jsonl").write_text("".join(json.dumps(item) + "\n" for item in math))
    return folder


@pytest.fixture(scope="module")
def adapter(example: SimpleNamespace, base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapters")
    example.train.train(base, data, "code", example.train.Recipe(2e-2, 4, rank=4, batch=8), out)
    return out / "code"


def test_training_learns_and_repeats_itself(
    example: SimpleNamespace, base: Path, data: Path, adapter: Path, tmp_path: Path
) -> None:
    losses = json.loads((adapter / "training.json").read_text())["losses"]
    assert losses[-1]["loss"] < 0.6 * losses[0]["loss"]
    example.train.train(base, data, "code", example.train.Recipe(2e-2, 4, rank=4, batch=8), tmp_path)
    again = (tmp_path / "code" / "adapter_model.safetensors").read_bytes()
    assert again == (adapter / "adapter_model.safetensors").read_bytes()


def test_adapter_names_no_place_on_this_machine(adapter: Path, base: Path) -> None:
    assert str(base) not in (adapter / "adapter_config.json").read_text()


def test_merged_weights_are_those_of_peft_and_of_the_product(
    example: SimpleNamespace, base: Path, adapter: Path
) -> None:
    model, _ = example.models.load_base(base, "cpu")
    before = {name: value.clone() for name, value in model.named_parameters()}
    merger = example.models.Merger(model)
    merger.set([(1.0, example.models.deltas(adapter, "cpu"))])
    merged = {name: value.clone() for name, value in model.named_parameters()}
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = dict(peft.PeftModel.from_pretrained(plain, adapter).merge_and_unload().named_parameters())
    product = LoraAdapter.open(adapter)
    assert len(product.targets) == 14
    for name, value in merged.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(value, product.fold(name, before[name]), rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(merged[name], before[name]) for name in merged)
    merger.set([])
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_only_completions_are_learnt(example: SimpleNamespace, base: Path, data: Path) -> None:
    model, tokenizer = example.models.load_base(base, "cpu")
    (prompt, completion), *_ = example.train.examples(data / "code.jsonl", "code", tokenizer, model.config.eos_token_id)
    assert tokenizer.decode(prompt).endswith('"""')
    assert tokenizer.decode(completion) == "\n    return x + 0\n<|im_end|>"
    row = example.train.collate([(prompt, completion), (prompt + prompt, completion)], 1, "cpu")
    assert row["labels"][0].tolist().count(example.train.IGNORED) == 2 * len(prompt)
    assert row["attention_mask"].sum(dim=1).tolist() == [
        len(prompt) + len(completion),
        2 * len(prompt) + len(completion),
    ]


def test_batches_change_nothing_in_what_is_generated(
    example: SimpleNamespace, base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(example.models.NEW_TOKENS, "math", 12)
    model, tokenizer = example.models.load_base(base, "cpu")
    items = [json.loads(line) for line in (data / "math.jsonl").read_text().splitlines()][8:12]
    together = example.models.complete(model, tokenizer, "math", items)
    alone = [example.models.complete(model, tokenizer, "math", [item])[0] for item in items]
    assert together == alone


def test_the_learning_rate_rises_and_falls(example: SimpleNamespace) -> None:
    shares = [example.train.schedule(step, 100, 0.05) for step in range(100)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert shares[-1] < 0.01
