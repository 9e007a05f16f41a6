"""Our draw in vLLM's sampler: one launch in place of a top-p filter and a sampler of its own, and the same noise.

vLLM 0.26 spends a tenth of a step of 640 rows and 256,000 tokens on top-p. By our noise a sample is a function of its
seed, its position and the logits, as it is in the transformers engine.
"""

from types import MethodType
from typing import Any

import torch

from worker.generate.draw_rows import DrawRows
from worker.generate.sampling import draw_tokens, in_one_launch


def replace_draw(runner: Any) -> bool:
    """Let a GPU model runner draw by `draw_tokens`; return whether this vLLM, this device and Triton allow it."""
    sampler: Any = getattr(runner, "sampler", None)
    if not all(hasattr(sampler, name) for name in ("sampling_states", "req_states", "sample")):
        return False  # another model runner than the one that was read
    if not in_one_launch(runner.device):
        return False
    sampler.sample = MethodType(_sample, sampler)
    return True


def _sample(
    sampler: Any, logits: torch.Tensor, rows: torch.Tensor, rows_np: Any, positions: torch.Tensor, *more: Any,
    **named: Any,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Draw a token for each row of logits; `rows` are places in the sampler's states, `positions` the last tokens'.

    Our requests set temperature, top-p and seed, nothing else that a sampler knows; of whoever asks for log
    probabilities vLLM takes care.
    """
    if named.get("return_logprobs"):
        return type(sampler).sample(sampler, logits, rows, rows_np, positions, *more, **named)  # type: ignore[no-any-return]
    states = sampler.sampling_states
    steps = positions - sampler.req_states.prompt_len.gpu[rows] + 1
    draw = DrawRows(states.temperature.gpu[rows], states.top_p.gpu[rows], states.seeds.gpu[rows], steps)
    return draw_tokens(logits, draw, sampled=True), logits
