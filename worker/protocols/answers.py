"""Protocols whose completions are judged as text: `exact_match` (a number) and `constraint_match` (instructions)."""

import re
from decimal import Decimal, InvalidOperation

from core.errors import InvalidInputError
from core.types.evaluation import Sampling, Verdict
from worker.generate.port import StopRule, Tokenizer
from worker.protocols.base import encode, encode_chat, register
from worker.protocols.item import Instruction, Item, Question

# A minus directly before a number is its sign, unless it follows a word or a number ("10-3"); commas count only
# between groups of three digits.
_NUMBER = re.compile(r"(?:(?<![\w).])-\$?|\$-?)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)")
_MAX_DIGITS = 60


def last_number(text: str) -> Decimal | None:
    """Return the last number of a text: commas, a currency sign, decimals and a sentence's dot are understood."""
    found = _NUMBER.findall(text)
    return _value(found[-1]) if found else None


def _value(number: str) -> Decimal | None:
    plain = re.sub(r"[,$]", "", number)
    try:
        return Decimal(plain) if len(plain) <= _MAX_DIGITS else None
    except InvalidOperation:
        return None


@register
class ExactMatch:
    """A question is answered in free text; its last number counts (GSM8K)."""

    id = "exact_match"
    metric = "exact_match"
    sampling = Sampling(temperature=0.0, n_samples=1, max_new_tokens=512, seed=0)

    def check(self, item: Item) -> None:
        """Refuse an item without a number for an answer."""
        if last_number(_question(item).answer) is None:
            raise InvalidInputError(f"The answer of {item.item_id} holds no number.")

    def prompt_ids(self, item: Item, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Ask the question as it is."""
        text = _question(item).text.strip()
        return encode_chat(tokenizer, text) or encode(tokenizer, text + "\n")

    def stop_rule(self, tokenizer: Tokenizer, eos_ids: frozenset[int]) -> StopRule:
        """Stop at the end token only."""
        return StopRule((), eos_ids)

    def judge(self, item: Item, completion: str) -> tuple[Verdict, str]:
        """Compare the last number with the answer's, exactly."""
        wanted = last_number(_question(item).answer)
        if wanted is None:
            raise InvalidInputError(f"The answer of {item.item_id} holds no number.")
        given = last_number(completion)
        if given is None:
            return Verdict.UNPARSABLE, "no number"
        return (Verdict.PASSED, "") if given == wanted else (Verdict.FAILED, f"{given}, not {wanted}")


@register
class ConstraintMatch:
    """An instruction with constraints that a program can check: all of them must be met."""

    id = "constraint_match"
    metric = "constraint_match"
    sampling = Sampling(temperature=0.0, n_samples=1, max_new_tokens=256, seed=0)

    def check(self, item: Item) -> None:
        """Refuse an item without constraints."""
        _instruction(item)

    def prompt_ids(self, item: Item, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Give the instruction as it is."""
        text = _instruction(item).text.strip()
        return encode_chat(tokenizer, text) or encode(tokenizer, text + "\n")

    def stop_rule(self, tokenizer: Tokenizer, eos_ids: frozenset[int]) -> StopRule:
        """Stop at the end token only."""
        return StopRule((), eos_ids)

    def judge(self, item: Item, completion: str) -> tuple[Verdict, str]:
        """Check every constraint; name those that are not met."""
        text = completion.strip()
        broken = [constraint.kind for constraint in _instruction(item).constraints if not constraint.met(text)]
        return (Verdict.FAILED, "not met: " + ", ".join(broken)) if broken else (Verdict.PASSED, "")


def _question(item: Item) -> Question:
    if not isinstance(item.task, Question):
        raise InvalidInputError(f"{item.item_id} has no answer, which protocol 'exact_match' needs.")
    return item.task


def _instruction(item: Item) -> Instruction:
    if not isinstance(item.task, Instruction):
        raise InvalidInputError(f"{item.item_id} has no constraints, which protocol 'constraint_match' needs.")
    return item.task
