"""Checks that a base and its experts can be merged, from headers alone: one error that names every problem.

Values (NaN, Inf) are checked by the bank while it reads; licences and sizes that a Statement of Work forbids are
checked by whoever holds it, from the facts given here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import InvalidInputError, Problem
from worker.merge.adapter import LoraAdapter
from worker.merge.checkpoint import Checkpoint

_SHAPE_KEYS = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size",
)  # fmt: skip
TIED_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Source:
    """A checkpoint with the adapter that is folded into it, if any."""

    checkpoint: Checkpoint
    adapter: LoraAdapter | None = None


def mergeable_names(base: Checkpoint) -> tuple[str, ...]:
    """Return the base's tensors that take part in merges: all but a stored copy of a tied lm_head."""
    return tuple(n for n in sorted(base.headers) if not (n == TIED_HEAD and base.tied))


def check_sources(base: Checkpoint, experts: Mapping[str, Source], *, allow_tokenizer: bool = False) -> None:
    """Raise InvalidInputError naming every reason why these models can't be merged.

    `allow_tokenizer` accepts differing tokenizers and chat templates (a Statement of Work that names one).
    """
    problems = _dtype_problems("base", base)
    if not experts:
        problems.append(_problem("experts", "none", "at least one", "There is no expert to merge."))
    for name, source in experts.items():
        problems += _expert_problems(name, base, source)
        if not allow_tokenizer:
            problems += _tokenizer_problems(name, base, source.checkpoint)
    if problems:
        first = "; ".join(str(p["message"]) for p in problems[:4])
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise InvalidInputError(
            f"These models can't be merged: {first}{more}",
            fix="Use experts fine-tuned from this very base, in safetensors with bf16, fp16 or fp32 weights.",
            problems=tuple(problems),
        )


def _problem(path: str, given: object, allowed: object, message: str) -> Problem:
    return Problem(path=path, given=given, allowed=allowed, message=message)


def _expert_problems(name: str, base: Checkpoint, source: Source) -> list[Problem]:
    expert, path = source.checkpoint, f"experts.{name}"
    if expert.architecture != base.architecture:
        message = f"{name}: architecture {expert.architecture} is not the base's {base.architecture}."
        return [_problem(path, expert.architecture, base.architecture, message)]
    problems = [
        _problem(f"{path}.{key}", expert.config.get(key), base.config.get(key),
                 f"{name}: {key} {expert.config.get(key)} is not the base's {base.config.get(key)}.")
        for key in _SHAPE_KEYS
        if expert.config.get(key) != base.config.get(key)
    ]  # fmt: skip
    problems += _dtype_problems(name, expert)
    if not problems:
        problems += _tensor_problems(name, base, expert)
    if source.adapter is not None:
        problems += [
            _problem(f"{path}.adapter", name, "an adapter of this base", f"{name}: adapter for another base: {reason}.")
            for reason in source.adapter.problems(expert)
        ]
    return problems


def _dtype_problems(name: str, checkpoint: Checkpoint) -> list[Problem]:
    bad = [(n, h.stored) for n, h in checkpoint.headers.items() if h.dtype is None]
    if not bad:
        return []
    message = f"{name}: {bad[0][0]!r} is stored as {bad[0][1]} ({len(bad)} such tensors), which can't be merged."
    return [_problem(f"experts.{name}.dtype", bad[0][1], "BF16, F16, F32, F64", message)]


def _tensor_problems(name: str, base: Checkpoint, expert: Checkpoint) -> list[Problem]:
    problems, path = [], f"experts.{name}"
    wanted = set(mergeable_names(base))
    if missing := sorted(wanted - set(expert.headers)):
        message = f"{name}: {len(missing)} tensors are missing, the first is {missing[0]!r}."
        problems.append(_problem(path, missing[0], "all tensors of the base", message))
    if extra := sorted(set(expert.headers) - wanted - {TIED_HEAD}):
        message = f"{name}: {len(extra)} tensors are not in the base, the first is {extra[0]!r}."
        problems.append(_problem(path, extra[0], "only tensors of the base", message))
    if TIED_HEAD in expert.headers and not expert.tied and base.tied:
        message = f"{name}: has its own lm_head, the base ties it to the embeddings."
        problems.append(_problem(path, "untied", "tied", message))
    for tensor in sorted(wanted & set(expert.headers)):
        ours, theirs = base.headers[tensor].shape, expert.headers[tensor].shape
        if ours != theirs:
            hint = " (another vocabulary)" if "embed" in tensor or "lm_head" in tensor else ""
            message = f"{name}: {tensor!r} has shape {theirs}, the base {ours}{hint}."
            problems.append(_problem(f"{path}.{tensor}", theirs, ours, message))
    return problems


def _tokenizer_problems(name: str, base: Checkpoint, expert: Checkpoint) -> list[Problem]:
    problems, path = [], f"experts.{name}"
    if base.vocabulary and expert.vocabulary and base.vocabulary != expert.vocabulary:
        message = f"{name}: its tokenizer maps tokens to other ids than the base's."
        problems.append(_problem(f"{path}.tokenizer", "another vocabulary", "the base's", message))
    elif base.chat_template and expert.chat_template and base.chat_template != expert.chat_template:
        message = f"{name}: its chat template is not the base's; the Statement of Work must name one."
        problems.append(_problem(f"{path}.chat_template", "another template", "the base's", message))
    return problems
