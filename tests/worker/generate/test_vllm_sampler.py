"""Our draw in a sampler with the attributes of vLLM 0.26's; vLLM itself needs a GPU and is not installed here."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worker.generate import vllm_sampler
from worker.generate.draw_rows import DrawRows
from worker.generate.sampling import draw_tokens


class Held:
    """A column of a sampler's states, as vLLM keeps it."""

    def __init__(self, values: list[float], dtype: torch.dtype) -> None:
        self.gpu = torch.tensor(values, dtype=dtype)


class Sampler:
    def __init__(self) -> None:
        self.sampling_states = SimpleNamespace(
            temperature=Held([0.0, 0.7, 1.2, 0.2], torch.float32), top_p=Held([1.0, 0.9, 0.5, 0.95], torch.float32),
            seeds=Held([1, 2**62, 3, -4], torch.int64),
        )  # fmt: skip
        self.req_states = SimpleNamespace(prompt_len=Held([10, 20, 30, 5], torch.int32))

    def sample(self, logits: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(logits),), -1), logits


def runner() -> Any:
    return SimpleNamespace(sampler=Sampler(), device=torch.device("cpu"))


LOGITS = 3 * torch.randn((3, 400), generator=torch.Generator().manual_seed(0))
ROWS = torch.tensor([3, 1, 2], dtype=torch.int32)
# A prompt of 5 tokens, 20 and 30: the first token, the third and the first one.
POSITIONS = torch.tensor([4, 21, 29])


def test_tokens_are_those_of_the_transformers_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_sampler, "in_one_launch", lambda _: True)
    changed = runner()
    assert vllm_sampler.replace_draw(changed)
    given = (LOGITS, ROWS, ROWS.numpy(), POSITIONS, POSITIONS, torch.zeros(3))
    tokens, returned = changed.sampler.sample(*given, return_logprobs=False)
    draw = DrawRows(
        torch.tensor([0.2, 0.7, 1.2]), torch.tensor([0.95, 0.9, 0.5]), torch.tensor([-4, 2**62, 3]),
        torch.tensor([0, 2, 0]),
    )  # fmt: skip
    assert torch.equal(tokens, draw_tokens(LOGITS, draw, sampled=True))
    assert returned is LOGITS
    asked, _ = changed.sampler.sample(*given, return_logprobs=True)
    assert asked.tolist() == [-1, -1, -1], "whoever asks for log probabilities gets vLLM's own sampler"


def test_what_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = runner()
    assert not vllm_sampler.replace_draw(plain), "the kernel doesn't work here"
    monkeypatch.setattr(vllm_sampler, "in_one_launch", lambda _: True)
    other = SimpleNamespace(sampler=torch.nn.Identity(), device=torch.device("cpu"))
    assert not vllm_sampler.replace_draw(other)
    assert not vllm_sampler.replace_draw(SimpleNamespace(sampler=None))
    assert plain.sampler.sample(LOGITS)[0].tolist() == [-1, -1, -1]
