"""Protocols for code: `bigcode` (raw completion) and `evalplus` (chat, code block)."""

from core.errors import InvalidInputError
from core.types.evaluation import Sampling
from worker.generate.port import StopRule, Tokenizer
from worker.grade.problems import with_inputs
from worker.grade.reference import Mode
from worker.protocols.base import code_problem, encode, encode_chat, register
from worker.protocols.extraction import longest_definition
from worker.protocols.item import Item

BIGCODE_STOPS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
_RAW_STOPS = ("\nclass ", "\ndef ", "\nimport ", "\nfrom ", "\nassert ", "\nprint(", "\nif __name__", "\n```", "\n#")
_FENCE = "```"
END_OF_TURN = "<end_of_turn>"


@register
class Bigcode:
    """The bigcode harness's HumanEval: the stripped prompt is continued, sampled and cut at its first stop string."""

    id = "bigcode"
    metric = "pass@1"
    mode: Mode = "bigcode"
    sampling = Sampling(temperature=0.2, top_p=0.95, n_samples=10, max_length=512, seed=0)

    def check(self, item: Item) -> None:
        """Refuse an item without a test."""
        if code_problem(item, self.id).test is None:
            raise InvalidInputError(
                f"{item.item_id} has no test, which the bigcode protocol runs.", fix="Use --protocol evalplus."
            )

    def prompt_ids(self, item: Item, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Tokenize the stripped prompt with the special tokens that the tokenizer adds by default (BOS)."""
        return encode(tokenizer, code_problem(item, self.id).prompt.strip())

    def stop_rule(self, tokenizer: Tokenizer, eos_ids: frozenset[int]) -> StopRule:
        """Stop at the harness's strings and the tokenizer's end token; other special tokens stay in the text."""
        end = (str(tokenizer.eos_token),) if tokenizer.eos_token else ()
        return StopRule((*BIGCODE_STOPS, *end), eos_ids, keep_special=True)

    def program(self, item: Item, completion: str) -> str:
        """Join the stripped prompt and the completion, untouched: what is a syntax error stays one."""
        return code_problem(item, self.id).prompt.strip() + completion


@register
class Evalplus:
    """EvalPlus: an instruct model answers in a code block that is opened for it; a base model continues the prompt."""

    id = "evalplus"
    metric = "pass@1"
    mode: Mode = "evalplus"
    sampling = Sampling(temperature=0.0, n_samples=1, max_new_tokens=768, seed=0)

    def check(self, item: Item) -> None:
        """Refuse an item without inputs."""
        with_inputs(code_problem(item, self.id))

    def prompt_ids(self, item: Item, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Ask for the whole program, and open the answer's code block."""
        prompt = code_problem(item, self.id).prompt.strip()
        question = (
            f"Solve this problem with one complete Python program in a code block.\n{_FENCE}python\n{prompt}\n{_FENCE}"
        )
        answer = f"This program solves the problem:\n{_FENCE}python\n"
        return encode_chat(tokenizer, question, answer) or encode(tokenizer, prompt + "\n")

    def stop_rule(self, tokenizer: Tokenizer, eos_ids: frozenset[int]) -> StopRule:
        """Stop where the code block is closed, or, without a chat template, where the function has ended."""
        chat = bool(getattr(tokenizer, "chat_template", None))
        return StopRule((f"\n{_FENCE}",) if chat else _RAW_STOPS, eos_ids)

    def program(self, item: Item, completion: str) -> str:
        """Return the longest block that parses and defines the entry point; the text as it is if there is none."""
        problem = code_problem(item, self.id)
        for text in (completion, problem.prompt.strip() + "\n" + completion):
            found = longest_definition(text, problem.entry_point)
            if found is not None:
                return found
        return completion
