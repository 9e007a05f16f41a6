"""The parsing process: its answers are right, it survives nothing that is not plain, and no sample feels another's."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from core.types.evaluation import Verdict
from tests.worker.grade.test_hostile import LIMITS, PROBLEM, RIGHT
from worker.grade.jobs import pack_calls, unpack_calls
from worker.grade.limits import Options
from worker.grade.parser import Parser
from worker.grade.pool import GradePool, Sample
from worker.grade.sandbox import Sandbox
from worker.grade.tiers import Tier

REFUSED = {
    "plain": ("def f(:", "SyntaxError"),
    "indented": ("  x = 1\n y = 2", "IndentationError"),
    "tabs": ("if a:\n\tb\n        c\n", "TabError"),
    "by_the_compiler": ("return 1", "SyntaxError"),
    "null_byte": ("x = 1\x00", "SyntaxError"),
    "lone_surrogate": ("x = '\ud800'", "UnicodeEncodeError"),
    "huge_number": ("x = " + "1" * 60_000, "SyntaxError"),
    "brackets": ("x = " + "(" * 5_000 + ")" * 5_000, "SyntaxError"),
    "blocks": ("".join(" " * i + "for a in b:\n" for i in range(25)) + " " * 25 + "pass", "SyntaxError"),
    "coding": ("# coding: none-such\nx = (", "SyntaxError"),
}
# Each `finally` doubles what it holds: seconds, and a gigabyte.
BOMB = "".join(f"{' ' * i}try:\n{' ' * i} a\n{' ' * i}finally:\n" for i in range(18)) + " " * 18 + "pass\n"
UNSURE = {
    "stack_of_the_parser": "x = " + "-" * 60_000 + "1",
    "recursion": "x = a" + ".b" * 30_000,
    "much_memory": "@a\n" * 20_000,
    "too_long": "x = (\n" + "#" * (1 << 16),
    "bomb": BOMB,
    "bomb_that_does_not_compile": f"{BOMB}return\n",
    "empty": "",
}


@pytest.fixture(scope="module", params=["bubblewrap", "subprocess"])
def parser(request: pytest.FixtureRequest) -> Iterator[Parser]:
    tier: Tier = request.param
    with Sandbox(tier, Options()) as sandbox, closing(Parser(sandbox)) as opened:
        yield opened


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_plain_error_is_named(parser: Parser, name: str) -> None:
    source, error = REFUSED[name]
    refusal = parser.refusal(source)
    assert refusal is not None
    assert refusal.name == error
    assert 0 < refusal.cpu_s < 0.25


@pytest.mark.parametrize("name", sorted(UNSURE))
def test_what_is_not_plain_is_left_to_its_own_process(parser: Parser, name: str) -> None:
    assert parser.refusal(UNSURE[name]) is None
    assert parser.refusal(RIGHT) is None
    refusal = parser.refusal("x = (")
    assert refusal is not None
    assert refusal.name == "SyntaxError"


def test_what_parses_is_not_run(parser: Parser) -> None:
    for source in ("import os; os._exit(0)", "compile = exec = print = None", "# coding: rot13\nx = 1\n", "x = '\\d'"):
        assert parser.refusal(source) is None
        refusal = parser.refusal("def f(:")
        assert refusal is not None


def test_it_is_replaced_after_some_sources_and_with_its_sandbox() -> None:
    with Sandbox("bubblewrap", Options()) as sandbox, closing(Parser(sandbox)) as parser:
        answers = [parser.refusal(f"x = ({number}") for number in range(250)]
        assert sum(answer is None for answer in answers) == 2
        sandbox.close()
        assert parser.refusal("x = (") is None
        assert parser.refusal("x = (") is not None


@pytest.mark.parametrize("mode", ["bigcode", "evalplus"])
def test_no_unparsable_sample_is_felt_by_the_next(mode: str) -> None:
    """Each is graded rightly, and the next may still take its whole time and memory."""
    hungry = "import time\nheld = bytes(300 << 20)\nwhile time.process_time() < 0.15:\n    pass\n"
    bad = {name: source for name, (source, _) in REFUSED.items()} | UNSURE
    sources = [text for name, source in bad.items() for text in (source, f"{hungry}{RIGHT}# after {name}\n")]
    with GradePool([PROBLEM], mode, workers=1, options=Options(limits=LIMITS)) as pool:  # type: ignore[arg-type]
        graded = sorted(
            pool.grade(Sample(i, "Own/1", source) for i, source in enumerate(sources)), key=lambda g: g.index
        )
    assert {g.verdict for g in graded[1::2]} == {Verdict.PASSED}
    verdicts = dict(zip(bad, graded[::2], strict=True))
    for name, (_, error) in REFUSED.items():
        assert (verdicts[name].verdict, verdicts[name].detail) == (Verdict.UNPARSABLE, error)
        assert verdicts[name].base is Verdict.UNPARSABLE
    for name in ("stack_of_the_parser", "recursion", "much_memory", "too_long"):
        assert verdicts[name].verdict is Verdict.UNPARSABLE
    for name in ("bomb", "bomb_that_does_not_compile"):
        assert verdicts[name].verdict in {Verdict.UNPARSABLE, Verdict.TIMEOUT}  # MemoryError, if it comes that far
    assert verdicts["empty"].verdict is Verdict.ERROR


def test_calls_are_read_in_pieces_and_only_when_needed() -> None:
    for count in range(20):
        calls = [((number, [number]), {}) for number in range(count)]
        assert list(unpack_calls(pack_calls(calls))) == calls
    torn = pack_calls([((number,), {}) for number in range(8)])[:-12]
    reading = unpack_calls(torn)
    assert [next(reading) for _ in range(4)] == [((number,), {}) for number in range(4)]
