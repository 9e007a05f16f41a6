"""Statements of Work: three forms, every problem at once, and nothing but InvalidInputError for hostile ones."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInputError
from core.plain_data import MAX_BYTES, MAX_DEPTH, MAX_VALUES, read_json, read_yaml
from core.sow_reader import ProseOnlyError, SowFormat, format_of_suffix, read_sow, validate_sow
from core.types.sow import Role, StatementOfWork

FIELDS: dict[str, Any] = {
    "sow": 1,
    "title": "Merge experts",
    "models": {"base": {"name": "base", "model": "a/b"}, "experts": [{"name": "code", "model": "a/c"}]},
    "benchmarks": [{"name": "s", "dataset": "d", "role": "screen"}],
    "optimization": {"trials": 0},
}


def problems_of(fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    with pytest.raises(InvalidInputError) as caught:
        validate_sow(fields)
    assert caught.value.problems
    return {str(p["path"]): dict(p) for p in caught.value.problems}


def test_the_three_forms_give_the_same() -> None:
    as_yaml = yaml.safe_dump(FIELDS)
    markdown = f"---\n{as_yaml}task: given\n---\n"
    expected = StatementOfWork.model_validate(FIELDS)
    assert read_sow(json.dumps(FIELDS).encode(), SowFormat.JSON) == expected
    assert read_sow(as_yaml.encode(), SowFormat.YAML) == expected
    assert read_sow(markdown.encode(), SowFormat.MARKDOWN) == expected.evolve(task="given")


@pytest.mark.parametrize(
    ("given_fields", "lands_in"),
    [({}, "task"), ({"task": "t"}, "motivation"), ({"task": "t", "motivation": "m"}, None)],
)
def test_prose_below_front_matter_fills_what_is_absent(given_fields: dict[str, str], lands_in: str | None) -> None:
    text = f"---\n{yaml.safe_dump({**FIELDS, **given_fields})}---\n\nWe want more.\n"
    sow = read_sow(text.encode(), SowFormat.MARKDOWN)
    assert {k for k in ("task", "motivation") if getattr(sow, k) == "We want more."} == ({lands_in} - {None})


def test_prose_alone_needs_a_language_model() -> None:
    with pytest.raises(ProseOnlyError, match="needs a language model") as caught:
        read_sow(b"# Please merge some models\n\nThanks: a colleague\n", SowFormat.MARKDOWN)
    assert caught.value.code == "needs_language_model"
    assert caught.value.status == 422


def test_every_problem_is_reported_at_once_with_path_given_and_allowed() -> None:
    wrong = {
        **FIELDS,
        "titel": "x",
        "benchmarks": [{"name": "s", "dataset": "d", "role": "sceen", "metric": "pass@5"}],
        "models": {"base": {"name": "base", "model": 2306.01708}, "expert": []},
        "survey": {"years": [2020, "soon"]},
        "experiments": {"methods": [1]},
        "optimization": {"trials": -1},
    }
    found = problems_of(wrong)
    assert set(found) == {
        "titel", "benchmarks[0].role", "models.base.model", "models.experts", "models.expert", "survey.years[1]",
        "experiments.methods", "experiments.methods[0]", "optimization.trials",
    }  # fmt: skip
    assert "'title'" in found["titel"]["message"]
    assert found["benchmarks[0].role"]["given"] == "sceen"
    assert "'screen'" in found["benchmarks[0].role"]["allowed"]
    assert "quotes" in found["models.base.model"]["allowed"]
    assert found["optimization.trials"]["allowed"] == "greater than or equal to 0"


def test_what_the_kind_misses_is_reported_beside_wrong_fields() -> None:
    found = problems_of({"sow": 1, "title": "x"})
    assert set(found) == {"title", "models", "benchmarks", "optimization.trials"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"models": None}, "models"),
        ({"benchmarks": [{"name": "s", "dataset": "d", "role": "show"}]}, "benchmarks"),
        ({"optimization": {"trials": 5}}, "optimization.trials"),
        ({"evaluation": {"command": ["x"]}}, "evaluation"),
        ({"kind": "command", "models": None}, "evaluation"),
        ({"kind": "command", "evaluation": {"command": ["x"]}}, "models"),
        ({"experiments": {"methods": ["linear", "tie"]}}, "experiments.methods[1]"),
        ({"benchmarks": FIELDS["benchmarks"] * 2}, "(document)"),
    ],
)
def test_the_kinds_own_needs(change: dict[str, Any], path: str) -> None:
    assert path in problems_of({**FIELDS, **change})


def test_a_search_with_a_slice_of_its_own_is_fine() -> None:
    search = {"name": "t", "dataset": "d", "role": "search"}
    sow = validate_sow({**FIELDS, "benchmarks": [*FIELDS["benchmarks"], search], "optimization": {"trials": 5}})
    assert [b.name for b in sow.benchmarks_of(Role.SEARCH)] == ["t"]


def test_long_values_are_not_sent_back() -> None:
    found = problems_of({**FIELDS, "kind": "x" * 5000})
    assert len(found["kind"]["given"]) < 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x", "anchor or alias"),
        ("a: 1\nb: 2\na: 3", "given twice.*line 3"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("? [1, 2]\n: x", "not a word"),
        ("a: " + "[" * (MAX_DEPTH + 2), "nested deeper"),
        ("[" + "1," * (MAX_VALUES + 1) + "]", "more than"),
        ("a: 1\n---\nb: 2", "more than one YAML document"),
        ('a: "\\0"', "can't be stored"),
        ("a: 99999999999999999999999", "can't be stored"),
        ("a: 1e999", "can't be stored"),
        ("a: b: c", "not YAML"),
        ("\x07", "not YAML"),
    ],
)
def test_hostile_yaml_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "given twice"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": NaN}', "NaN"),
        ('{"a": "\\ud800"}', "can't be stored"),
        ("1" * 5000, "not JSON"),
        ('{"\\u0000": 1}', "can't be stored"),
        ("{", "not JSON"),
    ],
)
def test_hostile_json_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        read_json(text)


def test_yaml_means_what_json_means() -> None:
    text = "a: no\nb: 12:30\nc: 010\nd: 2024-01-01\ne: ~\nf: true\ng: 1.5e3\nh: '1'\ni: -3\nj: .5\nk:\n"
    assert read_yaml(text) == {
        "a": "no", "b": "12:30", "c": 10, "d": "2024-01-01", "e": None, "f": True, "g": 1500.0, "h": "1", "i": -3,
        "j": 0.5, "k": None,
    }  # fmt: skip


def test_size_and_encoding_are_checked_before_parsing() -> None:
    with pytest.raises(InvalidInputError, match="At most"):
        read_sow(b" " * (MAX_BYTES + 1), SowFormat.YAML)
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        read_sow(b"\xff\xfe", SowFormat.JSON)
    assert read_sow(b"\xef\xbb\xbf" + json.dumps(FIELDS).encode(), SowFormat.JSON).title == "Merge experts"


@pytest.mark.parametrize("text", ["", "- a", "word", "null", "3"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a mapping"):
        read_sow(text.encode(), SowFormat.YAML)


def test_formats_by_suffix() -> None:
    assert format_of_suffix(".YML") is SowFormat.YAML
    with pytest.raises(InvalidInputError, match="docx"):
        format_of_suffix(".docx")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
field_names = st.sampled_from([*StatementOfWork.model_fields, "extra"])


def _outcome(data: bytes, form: SowFormat) -> StatementOfWork | InvalidInputError:
    try:
        return read_sow(data, form)
    except InvalidInputError as error:
        json.dumps([dict(p) for p in error.problems])
        return error


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300), form=st.sampled_from(list(SowFormat)))
def test_bytes_never_raise_anything_else(data: bytes, form: SowFormat) -> None:
    assert isinstance(_outcome(data, form), StatementOfWork | InvalidInputError)


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="abk:-[]{}&*!|>?#'\"\n \t%@`,~0123.", max_size=120))
def test_yaml_like_text_never_raises_anything_else(text: str) -> None:
    assert isinstance(_outcome(text.encode(), SowFormat.YAML), StatementOfWork | InvalidInputError)


@settings(max_examples=200, deadline=None)
@given(changes=st.dictionaries(field_names, plain, max_size=4))
def test_fields_never_raise_anything_else(changes: dict[str, Any]) -> None:
    data = json.dumps({**FIELDS, **changes}).encode()
    assert isinstance(_outcome(data, SowFormat.JSON), StatementOfWork | InvalidInputError)
