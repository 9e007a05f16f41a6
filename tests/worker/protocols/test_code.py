import gzip
import json
from typing import Any

import pytest

from core.errors import InvalidInputError, NotFoundError
from tests.conftest import SHARED
from worker.benchmark import load_items
from worker.items import Slice
from worker.protocols.base import AnswerProtocol, CodeProtocol
from worker.protocols.extraction import longest_definition
from worker.protocols.item import Item, Question
from worker.protocols.registry import find_protocol


class Characters:
    """A tokenizer of characters that adds a beginning and knows a chat form."""

    eos_token = "<eos>"

    def __init__(self, chat_template: str | None = None) -> None:
        self.chat_template = chat_template

    def __call__(self, text: str, add_special_tokens: bool = True, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [1] * add_special_tokens + [ord(c) for c in text]}

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return f"<user>{turns[0]['content']}<model>"

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(map(chr, ids))


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return load_items("humaneval", Slice(limit=3))


def text_of(ids: tuple[int, ...]) -> str:
    return "".join(chr(i) for i in ids if i != 1)


def test_bigcode_continues_the_stripped_prompt(items: tuple[Item, ...]) -> None:
    protocol = find_protocol("bigcode")
    assert isinstance(protocol, CodeProtocol)
    ids = protocol.prompt_ids(items[0], Characters("chat"))
    assert ids[0] == 1
    assert text_of(ids) == items[0].task.prompt.strip()
    rule = protocol.stop_rule(Characters(), frozenset([5, 6]))
    assert {"\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>", "<eos>"} == set(rule.strings)
    assert (rule.eos_ids, rule.keep_special) == ({5, 6}, True)
    assert protocol.program(items[0], "\n    return 1").endswith('"""\n    return 1')
    assert protocol.sampling.model_dump(exclude_none=True) == {
        "temperature": 0.2, "top_p": 0.95, "n_samples": 10, "max_length": 512, "seed": 0,
    }  # fmt: skip


def test_evalplus_opens_the_code_block(items: tuple[Item, ...]) -> None:
    protocol = find_protocol("evalplus")
    prompt = text_of(protocol.prompt_ids(items[0], Characters("chat")))
    assert prompt.startswith("<user>")
    assert items[0].task.prompt.strip() in prompt
    assert prompt.endswith("```python\n")
    assert protocol.stop_rule(Characters("chat"), frozenset()).strings == ("\n```",)
    raw = text_of(protocol.prompt_ids(items[0], Characters()))
    assert raw == items[0].task.prompt.strip() + "\n"
    assert (protocol.sampling.temperature, protocol.sampling.max_new_tokens) == (0.0, 768)


def test_evalplus_extracts_what_defines_the_entry_point(items: tuple[Item, ...]) -> None:
    protocol = find_protocol("evalplus")
    name = items[0].task.entry_point
    code = f"from typing import List\n\ndef helper(x):\n    return x\n\ndef {name}(a, b):\n    return helper(a)\n"
    for text in (code, f"Here it is:\n```python\n{code}```\nIt works by magic.", code + "\nprint(unfinished("):
        assert protocol.program(items[0], text) == code
    # A base model continues the function's body.
    body = "    return sorted(numbers) == numbers\n\nThat's all"
    assert protocol.program(items[0], body).endswith("return sorted(numbers) == numbers\n")
    assert protocol.program(items[0], body).startswith("from typing import List")


def test_nothing_to_extract_stays_as_it_is(items: tuple[Item, ...]) -> None:
    protocol = find_protocol("evalplus")
    assert longest_definition("I can't do that.", "f") is None
    assert longest_definition("def f(:\n  pass", "f") is None
    assert longest_definition("def g(): pass", "f") is None
    assert longest_definition("f = lambda x: x", "f") == "f = lambda x: x\n"
    assert longest_definition("(" * 5000 + "\ndef f(): pass\n", "f") == "def f(): pass\n"
    assert longest_definition("def f():\n    return 1\n" + "x = \\\n" * 50, "f") == "def f():\n    return 1\n"
    assert longest_definition("x = (\n" * 1000, "f") is None
    assert protocol.program(items[0], "") in {"", items[0].task.prompt.strip() + "\n"}


def test_wrong_kinds_of_item_are_refused() -> None:
    question = Item("q", Question("1+1?", "2"))
    with pytest.raises(InvalidInputError, match="is not a code problem"):
        find_protocol("bigcode").prompt_ids(question, Characters())
    with pytest.raises(NotFoundError, match="bigcode, constraint_match, evalplus, exact_match"):
        find_protocol("guess")
    assert isinstance(find_protocol("exact_match"), AnswerProtocol)
    assert not isinstance(find_protocol("exact_match"), CodeProtocol)


@pytest.mark.parametrize("name", ["HumanEvalPlus.jsonl.gz", "MbppPlus.jsonl.gz"])
def test_canonical_solutions_survive_extraction(name: str) -> None:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the checkout")
    protocol = find_protocol("evalplus")
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for item, row in list(zip(load_items(str(path)), rows, strict=True))[::9]:
        source = row["prompt"] + row["canonical_solution"]
        program = protocol.program(item, f"Sure!\n```python\n{source}\n```\nDone.")
        compile(program, "x", "exec")
        assert row["canonical_solution"].strip() in program
