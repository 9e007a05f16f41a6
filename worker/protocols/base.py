"""What a protocol is, and the registry of those there are.

A protocol fixes everything that changes a score beside the model: prompt, stop rule, extraction, grading, metric and
default sampling. Scores of different protocols are never put in one column (evaluation.md).
"""

from typing import Protocol, runtime_checkable

from core.errors import InvalidInputError, NotFoundError
from core.types.evaluation import Sampling, Verdict
from worker.generate.port import StopRule, Tokenizer
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.protocols.item import Item


@runtime_checkable
class EvaluationProtocol(Protocol):
    """How an item becomes a prompt and a completion becomes something that can be graded."""

    id: str
    metric: str
    sampling: Sampling

    def check(self, item: Item) -> None:
        """Raise InvalidInputError when the item is not of this protocol's kind, or lacks what it is graded by."""

    def prompt_ids(self, item: Item, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Return the prompt's token ids; raise InvalidInputError when the item is not of this protocol's kind."""

    def stop_rule(self, tokenizer: Tokenizer, eos_ids: frozenset[int]) -> StopRule:
        """Return when a completion ends."""


@runtime_checkable
class CodeProtocol(EvaluationProtocol, Protocol):
    """A protocol whose completions are programs, graded out of process."""

    mode: Mode

    def program(self, item: Item, completion: str) -> str:
        """Return the program that a completion stands for."""


@runtime_checkable
class AnswerProtocol(EvaluationProtocol, Protocol):
    """A protocol whose completions are judged as text."""

    def judge(self, item: Item, completion: str) -> tuple[Verdict, str]:
        """Return the verdict and, for a failure, what was wrong."""


_protocols: dict[str, EvaluationProtocol] = {}


def register[P: type](protocol: P) -> P:
    """Register a protocol class under its id."""
    made = protocol()
    _protocols[made.id] = made
    return protocol


def find_protocol(name: str) -> EvaluationProtocol:
    """Return the protocol of this name; raise NotFoundError that lists those there are."""
    if name not in _protocols:
        raise NotFoundError(f"There is no protocol {name!r}.", fix=f"Protocols: {', '.join(sorted(_protocols))}.")
    return _protocols[name]


def code_problem(item: Item, protocol: str) -> CodeProblem:
    """Return the item's problem; raise InvalidInputError when the item is not about code."""
    if not isinstance(item.task, CodeProblem):
        raise InvalidInputError(f"{item.item_id} is not a code problem, which protocol {protocol!r} needs.")
    return item.task


def encode(tokenizer: Tokenizer, text: str, *, special: bool = True) -> tuple[int, ...]:
    """Return token ids; `special` adds what the tokenizer adds by default (BOS)."""
    return tuple(tokenizer(text, add_special_tokens=special)["input_ids"])


def encode_chat(tokenizer: Tokenizer, question: str, answer_begins: str = "") -> tuple[int, ...] | None:
    """Return the ids of a user's turn and the beginning of the answer, or None for a model without a chat template."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    turns = [{"role": "user", "content": question}]
    head = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return encode(tokenizer, head + answer_begins, special=False)
