import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agents.answer import first_object, instructions, split_thinking, validated
from agents.decision import Question
from core.errors import ModelOutputError


class Pick(BaseModel):
    name: str
    score: float = Field(ge=0, le=1)


def question(**rest: object) -> Question[Pick]:
    return Question("survey", "pick", "You pick.", "Pick one.", Pick, lambda: Pick(name="p", score=0.5), **rest)


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1}',
        'Sure! {"a": 1} is it, {"b": 2} is not.',
        'Use {braces}: {"a": 1}',
        '```json\n{"a": 1}\n```',
        'Not {"b": 2} but\n```\n{"a": 1}\n```',
        '```json\n{"a": 1',
    ],
)
def test_first_object(content: str) -> None:
    if content.endswith("1"):
        with pytest.raises(ModelOutputError, match="not valid JSON"):
            first_object(content)
    else:
        assert first_object(content) == {"a": 1}


@pytest.mark.parametrize("content", ["", "no", "[1, 2]", '{"a": NaN}', "{" * 200_000, '{"a":' * 100_000])
def test_no_object(content: str) -> None:
    with pytest.raises(ModelOutputError):
        first_object(content)


@given(st.text(), st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.text())
def test_an_object_is_found_in_any_prose(before: str, value: dict[str, object], after: str) -> None:
    assert first_object(before.replace("{", "").replace("`", "") + json.dumps(value) + after.replace("`", "")) == value


def test_every_problem_is_named() -> None:
    with pytest.raises(ModelOutputError) as caught:
        validated(question(), '{"score": 3}')
    assert "name: Field required" in caught.value.message
    assert "score: Input should be less than or equal to 1 (given: 3)" in caught.value.message


def test_the_check_has_the_last_word() -> None:
    asked = question(check=lambda a: [f"{a.name} is no candidate"])
    with pytest.raises(ModelOutputError, match="zed is no candidate"):
        validated(asked, '{"name": "zed", "score": 1}')


def test_thinking_is_split_off() -> None:
    assert split_thinking('<think>{"a": 1}?</think>\n{"b": 2}') == ('{"b": 2}', '{"a": 1}?')
    assert split_thinking("plain") == ("plain", None)


def test_instructions_carry_schema_and_name() -> None:
    said = instructions(question())
    assert "Decision: pick\n" in said
    assert '"score"' in said
