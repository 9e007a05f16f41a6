from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import InvalidInputError, MissingDependencyError, NotFoundError
from worker.generate.port import Completion, Draw, EngineOptions, GenerationRequest, StopRule
from worker.generate.registry import load_engine
from worker.generate.transformers_engine import TransformersEngine

PROMPTS = (
    "def add(a, b):\n    return",
    "x",
    "import os\nimport sys\n\nprint(",
    "hello there, how are you today?",
    "zz",
)
GREEDY = Draw(max_new_tokens=24)


def ask(tokenizer: Any, prompts: Sequence[str], draw: Draw, samples: int = 1) -> list[GenerationRequest]:
    return [
        GenerationRequest(f"item/{i}", n, tuple(tokenizer(text)["input_ids"]), draw, StopRule(), 7)
        for i, text in enumerate(prompts)
        for n in range(samples)
    ]


def by_sample(completions: Any) -> dict[tuple[str, int], Completion]:
    listed = list(completions)
    found = {(c.item_id, c.sample_index): c for c in listed}
    assert len(found) == len(listed)
    return found


def plain(model: Any, prompt: Sequence[int], new: int) -> tuple[int, ...]:
    """Decode greedily without any cache: the model's own attention over the whole text at each step."""
    model.set_attn_implementation("eager")
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(new):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


@pytest.mark.parametrize("kind", ["llama", "gemma"])
@pytest.mark.parametrize("rows", [1, 2, 16])
def test_greedy_equals_plain_decoding(kind: str, rows: int, tokenizer: Any, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    requests = ask(tokenizer, PROMPTS, GREEDY)
    expected = {r.item_id: plain(model, r.prompt_ids, 24) for r in requests}
    engine = TransformersEngine(model, tokenizer, rows=rows)
    found = by_sample(engine.generate(requests))
    assert {item: c.token_ids for (item, _), c in found.items()} == expected
    assert all(c.finish == "length" for c in found.values())


def test_a_common_prefix_changes_nothing(llama: Any, tokenizer: Any) -> None:
    head = "You are asked to continue the following text. "
    requests = ask(tokenizer, [head + p for p in PROMPTS], GREEDY)
    expected = {r.item_id: plain(llama, r.prompt_ids, 24) for r in requests}
    found = by_sample(TransformersEngine(llama, tokenizer).generate(requests))
    assert {item: c.token_ids for (item, _), c in found.items()} == expected


def test_what_has_priority_is_begun_first_and_comes_out_the_same(llama: Any, tokenizer: Any) -> None:
    requests = ask(tokenizer, PROMPTS, Draw(temperature=0.9, top_p=0.95, max_new_tokens=20))
    urgent = [replace(r, priority=3 if r.item_id in {"item/1", "item/4"} else 0) for r in requests]
    plainly = list(TransformersEngine(llama, tokenizer, rows=2).generate(requests))
    ordered = list(TransformersEngine(llama, tokenizer, rows=2).generate(urgent))
    assert {c.item_id for c in ordered[:2]} == {"item/1", "item/4"} != {c.item_id for c in plainly[:2]}
    assert by_sample(ordered) == by_sample(plainly)


def test_samples_do_not_depend_on_the_batch(llama: Any, tokenizer: Any) -> None:
    requests = ask(tokenizer, PROMPTS, Draw(temperature=0.9, top_p=0.95, max_new_tokens=20), samples=6)
    narrow = by_sample(TransformersEngine(llama, tokenizer, rows=3).generate(requests))
    wide = by_sample(TransformersEngine(llama, tokenizer, rows=32).generate(list(reversed(requests))))
    one = by_sample(TransformersEngine(llama, tokenizer).generate([requests[8]]))
    assert {k: c.token_ids for k, c in narrow.items()} == {k: c.token_ids for k, c in wide.items()}
    assert one.popitem()[1] == narrow[requests[8].item_id, requests[8].sample_index]
    assert len({c.token_ids for c in narrow.values()}) > 20
    other = by_sample(TransformersEngine(llama, tokenizer).generate([replace(r, seed=8) for r in requests]))
    assert sum(other[k].token_ids == narrow[k].token_ids for k in other) < 5


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_working_ahead_with_static_shapes_changes_nothing(
    kind: str, tokenizer: Any, request: pytest.FixtureRequest
) -> None:
    """Run the GPU's schedule (buckets, one step of lookahead) on the CPU."""
    draws = [Draw(temperature=t, top_p=0.9, max_new_tokens=n) for t, n in ((0.0, 5), (0.8, 40), (0.5, 19), (1.0, 70))]
    requests = [replace(r, draw=draws[i % 4]) for i, r in enumerate(ask(tokenizer, PROMPTS, GREEDY, samples=5))]
    model = request.getfixturevalue(kind)
    expected = by_sample(TransformersEngine(model, tokenizer, rows=5).generate(requests))
    engine = TransformersEngine(model, tokenizer, rows=11)
    engine._forward.static = True
    assert by_sample(engine.generate(requests)) == expected
    assert by_sample(engine.generate(requests[:3])) == {
        k: expected[k] for k in list(expected) if k in {(r.item_id, r.sample_index) for r in requests[:3]}
    }


def test_whole_numbers_are_temperatures_too(llama: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(llama, tokenizer)
    whole, exact = (
        by_sample(engine.generate(ask(tokenizer, PROMPTS, Draw(t, p, None, 9)))) for t, p in ((1, 1), (1.0, 1.0))
    )
    assert whole == exact


def test_rows_leave_when_done_and_limits_hold(llama: Any, tokenizer: Any) -> None:
    ids = tuple(tokenizer("abc")["input_ids"])
    draws = [Draw(max_new_tokens=n) for n in (1, 3, 9, 30)] + [Draw(max_length=len(ids) + 2), Draw(max_length=2)]
    requests = [GenerationRequest(f"i/{n}", 0, ids, draw, StopRule()) for n, draw in enumerate(draws)]
    order = list(TransformersEngine(llama, tokenizer).generate(requests))
    assert {c.item_id: c.tokens for c in order} == {"i/0": 1, "i/1": 3, "i/2": 9, "i/3": 30, "i/4": 2, "i/5": 0}
    assert order[-1].item_id == "i/3"


def test_stops_at_strings_and_end_tokens(llama: Any, tokenizer: Any) -> None:
    (free,) = TransformersEngine(llama, tokenizer).generate(ask(tokenizer, PROMPTS[:1], GREEDY))
    text = tokenizer.decode(list(free.token_ids))
    stop = text[6:9]
    (request,) = ask(tokenizer, PROMPTS[:1], GREEDY)
    (cut,) = TransformersEngine(llama, tokenizer).generate([replace(request, stop=StopRule((stop,)))])
    assert cut.text == text[: text.index(stop)]
    assert cut.finish == "stop"
    assert cut.tokens == text.index(stop) + len(stop)
    end = free.token_ids[4]
    (ended,) = TransformersEngine(llama, tokenizer).generate(
        [replace(request, stop=StopRule(eos_ids=frozenset([end]), keep_special=False))]
    )
    assert ended.finish == "eos"
    assert ended.token_ids == free.token_ids[: free.token_ids.index(end) + 1]


def test_weights_changed_in_place_are_used(llama: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(llama, tokenizer)
    requests = ask(tokenizer, PROMPTS, GREEDY)
    before = by_sample(engine.generate(requests))
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.mul_(-0.9)
    engine.weights_changed()
    after = by_sample(engine.generate(requests))
    expected = {r.item_id: plain(llama, r.prompt_ids, 24) for r in requests}
    assert {item: c.token_ids for (item, _), c in after.items()} == expected
    assert any(after[k].token_ids != before[k].token_ids for k in before)


def test_stopping_early_leaves_the_engine_usable(llama: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(llama, tokenizer)
    requests = ask(tokenizer, PROMPTS, GREEDY)
    stream = engine.generate(requests)
    next(stream)
    stream.close()
    assert len(by_sample(engine.generate(requests))) == len(requests)


def test_loading(llama: Any, tokenizer: Any, tmp_path: Path) -> None:
    llama.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = load_engine("transformers", tmp_path, EngineOptions(device="cpu", dtype="float32", rows=4))
    requests = ask(tokenizer, PROMPTS[:2], GREEDY)
    expected = by_sample(TransformersEngine(llama, tokenizer).generate(requests))
    assert by_sample(engine.generate(requests)) == expected
    assert engine.eos_ids == {0}
    assert engine.describe()["dtype"] == "float32"
    engine.close()


def test_what_cannot_be_done_is_refused(llama: Any, tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is empty"):
        list(TransformersEngine(llama, tokenizer).generate([GenerationRequest("a", 0, (), GREEDY, StopRule())]))
    with pytest.raises(InvalidInputError, match="No model can be loaded"):
        load_engine("transformers", tmp_path)
    with pytest.raises(NotFoundError, match="transformers, vllm"):
        load_engine("other", tmp_path)
    llama.config.layer_types = ["full_attention", "mamba", "full_attention"]
    with pytest.raises(InvalidInputError, match="attention layers only"):
        TransformersEngine(llama, tokenizer)


def test_vllm_says_that_it_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="needs the package vllm"):
        load_engine("vllm", tmp_path)


def test_bfloat16_on_a_cpu(llama: Any, tokenizer: Any) -> None:
    requests = ask(tokenizer, PROMPTS, GREEDY)
    exact = by_sample(TransformersEngine(llama, tokenizer).generate(requests))
    rounded = by_sample(TransformersEngine(llama.to(torch.bfloat16), tokenizer).generate(requests))
    assert rounded.keys() == exact.keys()
    assert any(rounded[k].token_ids[:3] == exact[k].token_ids[:3] for k in exact)
