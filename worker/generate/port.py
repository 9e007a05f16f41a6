"""What an engine is asked and what it answers.

Plain dataclasses and one Protocol: no pydantic, no torch, so that the decoding core also runs on a bare GPU image.
Prompts arrive as token ids: the protocols tokenize (worker/protocols), the engines never add or drop a token.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

FinishReason = Literal["stop", "eos", "length"]


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a completion ends: at the earliest stop string, at an end token, or at its length.

    `keep_special` decodes special tokens as text (the bigcode protocol), so that a stop string may name one.
    """

    strings: tuple[str, ...] = ()
    eos_ids: frozenset[int] = frozenset()
    keep_special: bool = False


@dataclass(frozen=True, slots=True)
class Draw:
    """How tokens are drawn and how many. `max_length` counts prompt and completion, `max_new_tokens` only new ones."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_length: int | None = None
    max_new_tokens: int | None = None

    def room(self, prompt_tokens: int, context: int) -> int:
        """Return how many tokens may follow a prompt of this length in a model with this context (never negative)."""
        limits = [context - prompt_tokens]
        if self.max_length is not None:
            limits.append(self.max_length - prompt_tokens)
        if self.max_new_tokens is not None:
            limits.append(self.max_new_tokens)
        return max(0, min(limits))


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One completion to make: sample `sample_index` of item `item_id`; a higher `priority` is begun earlier."""

    item_id: str
    sample_index: int
    prompt_ids: tuple[int, ...]
    draw: Draw
    stop: StopRule
    seed: int = 0
    priority: int = 0

    @property
    def sample_seed(self) -> int:
        """Return the sample's own 63-bit seed: it depends on seed, item and index, never on the batch."""
        text = f"{self.seed}\0{self.item_id}\0{self.sample_index}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished sample. `text` is cut at the earliest stop string; `tokens` counts what was generated for it."""

    item_id: str
    sample_index: int
    text: str
    token_ids: tuple[int, ...]
    finish: FinishReason

    @property
    def tokens(self) -> int:
        """Return how many tokens were generated."""
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model is held: `device` and `dtype` of None are chosen for this machine, `rows` of None from its memory.

    `memory_share` is the part of a GPU's memory that the vllm engine takes (experts may lie beside it); without
    `sample_seeds` it draws all rows from one generator, which is faster and depends on the batch.
    """

    device: str | None = None
    dtype: str | None = None
    rows: int | None = None
    revision: str | None = None
    memory_share: float = 0.9
    sample_seeds: bool = True


@dataclass(frozen=True, slots=True)
class InPlaceMerge:
    """A recipe merged into an engine's live weights."""

    seconds: float
    checksum: str
    peak_mb: float


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that engines and protocols use."""

    @property
    def eos_token(self) -> Any:
        """Return the text of the end token, if there is one."""

    def __call__(self, text: str, **options: Any) -> Any:
        """Encode text, adding the special tokens the tokenizer adds by default."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Return the text of token ids."""

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Return a conversation as the model's own prompt text."""


class Engine(Protocol):
    """Makes completions with a resident model whose weights may be replaced in place between calls."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the model's own tokenizer."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Return the ids at which the model's own generation configuration ends a text."""

    @property
    def model(self) -> Any:
        """Return the resident torch module for in-place merging; raise where the weights live in another process."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        """Yield each completion as it finishes, in any order, every request exactly once."""

    def weights_changed(self) -> None:
        """Forget whatever was computed with the former weights (cached prefixes)."""

    def modules_changed(self) -> None:
        """Forget whatever was recorded of the model's own steps: modules were attached to it or taken off."""

    def describe(self) -> Mapping[str, str | int | float]:
        """Return name, version, dtype, device and batch size, for the record of an evaluation."""

    def close(self) -> None:
        """Free the model and its memory."""


@runtime_checkable
class MergingEngine(Protocol):
    """An engine whose weights live elsewhere and that merges recipes there, from a bank held beside them."""

    def hold(self, base: Any, experts: Mapping[str, Any], placement: str = "auto") -> Mapping[str, Any]:
        """Keep base and experts (`worker.merge.bank.ModelRef`) beside the live model."""

    def merge(self, config: Mapping[str, Any]) -> InPlaceMerge:
        """Make a recipe of the bank's names the live weights; raise InvalidInputError where it needs more."""
