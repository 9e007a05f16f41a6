from decimal import Decimal
from typing import Any

import pytest

from core.errors import InvalidInputError
from core.types.evaluation import Verdict
from worker.protocols.answers import last_number
from worker.protocols.constraints import Constraint, read_constraint
from worker.protocols.item import Instruction, Item, Question
from worker.protocols.registry import find_protocol


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 18.", "18"), ("so she makes $1,234.50 a day.", "1234.5"), ("9 * 2 = $18", "18"),
        ("10-3=7", "7"), ("it falls to -4.0 degrees", "-4"), ("-$5", "-5"), ("$-5", "-5"), ("7%", "7"),
        ("between 3 and 1,000,000", "1000000"), ("- 12 apples", "12"), ("about .5", "0.5"), ("x2 = 3", "3"),
        ("10-3", "3"), ("1,2", "2"), ("#### 70,000", "70000"), ("**42**", "42"), ("18.00", "18"), ("(5)", "5"),
    ],
)  # fmt: skip
def test_last_number(text: str, number: str) -> None:
    assert last_number(text) == Decimal(number)


def test_no_number() -> None:
    assert last_number("none at all") is None
    assert last_number("9" * 100) is None


def test_exact_match() -> None:
    protocol = find_protocol("exact_match")
    item = Item("gsm8k/0", Question("How much?", "1,018"))
    assert protocol.judge(item, "It is 1018.0 dollars.") == (Verdict.PASSED, "")
    assert protocol.judge(item, "It is 18 dollars.") == (Verdict.FAILED, "18, not 1018")
    assert protocol.judge(item, "no idea")[0] is Verdict.UNPARSABLE
    with pytest.raises(InvalidInputError, match="holds no number"):
        protocol.judge(Item("q", Question("?", "yes")), "1")


CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"kind": "uppercase"}, ["HELLO 1!"], ["Hello", "123", ""]),
    ({"kind": "lowercase"}, ["hello 1!"], ["Hello", "123", ""]),
    ({"kind": "word_count", "count": 3}, ["one - two, three!", "a b c"], ["a b", "a b c d"]),
    ({"kind": "max_words", "count": 2}, ["one", "one two"], ["", "one two three", "..."]),
    ({"kind": "starts_with", "prefix": "Dear"}, ["Dear all"], ["dear all", ""]),
    ({"kind": "ends_with", "suffix": "."}, ["Done."], ["Done!"]),
    ({"kind": "include", "keyword": "sea"}, ["The Sea!"], ["seal", "season"]),
    ({"kind": "include", "keyword": "a.b", "count": 2}, ["a.b and A.B"], ["a.b", "axb a.b"]),
    ({"kind": "exclude_character", "character": "e"}, ["all right"], ["here", ""]),
    ({"kind": "list_items", "count": 2, "marker": "-"}, ["- a\n\n- b"], ["- a", "-a\n- b", "x\n- a\n- b", "- a\n- !"]),
    ({"kind": "quoted"}, ['"yes"'], ['""', '"yes', 'say "yes"']),
    ({"kind": "json_keys", "keys": ["a", "b"]}, ['{"b": 1, "a": 2}'], ['{"a": 1}', "[1]", "{a: 1}", "[" * 10000]),
    ({"kind": "separated", "count": 2, "separator": "***"}, ["a *** b"], ["a", "a *** b *** c", "a *** !"]),
    ({"kind": "enclosed", "opening": "<<", "closing": ">>"}, ["<<x>>"], ["<<>>", "<<x", "<>>"]),
]


@pytest.mark.parametrize(("row", "met", "broken"), CASES)
def test_constraints(row: dict[str, Any], met: list[str], broken: list[str]) -> None:
    constraint = read_constraint(row, "item 1")
    assert [constraint.met(text) for text in met] == [True] * len(met)
    assert [constraint.met(text) for text in broken] == [False] * len(broken)


def test_every_kind_is_tried() -> None:
    kinds = {case[0]["kind"] for case in CASES}
    assert len(kinds) == len(Constraint.__subclasses__())


def test_constraint_match_names_what_is_not_met() -> None:
    task = Instruction("Shout.", tuple(read_constraint(r, "x") for r in ({"kind": "uppercase"}, {"kind": "quoted"})))
    protocol = find_protocol("constraint_match")
    assert protocol.judge(Item("i", task), '  "HELLO"\n') == (Verdict.PASSED, "")
    assert protocol.judge(Item("i", task), "HELLO") == (Verdict.FAILED, "not met: quoted")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"kind": "rhymes"},
            "item 7: there is no kind of constraint 'rhymes'. Kinds: ends_with|item 7: there is no kind",
        ),
        ({"kind": "word_count"}, "item 7: constraint 'word_count', count"),
        ({"kind": "word_count", "count": "many"}, "item 7: constraint 'word_count', count"),
        ({"kind": "quoted", "count": 1}, "item 7: constraint 'quoted', count"),
        ("uppercase", "there is no kind"),
        ({"kind": ["uppercase"]}, "there is no kind"),
    ],
)
def test_wrong_constraints_are_refused_on_load(row: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_constraint(row, "item 7")
