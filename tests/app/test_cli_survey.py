"""`research-agent survey` on a machine where nothing runs: what it writes, how it ends, how it goes on."""

import asyncio
import csv
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.embedder import EmbedderProcess
from core.errors import OperatorError
from core.types.work import Survey
from tests.conftest import ROOT
from tests.fakes.literature_server import LiteratureServer, serve
from tests.fakes.literature_world import World, build_world
from tests.fakes.small_world import TOPIC, write_lists

SOURCES = ("arxiv", "semantic_scholar", "openalex", "hub", "github")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(write_lists(tmp_path_factory.mktemp("lists")))


def write_sow(folder: Path, sources: Sequence[str] = SOURCES, extra: str = "") -> None:
    text = f"sow: 1\ntitle: {TOPIC}\nsurvey: {{sources: [{', '.join(sources)}], max_requests: 2000}}\n{extra}"
    (folder / "sow.yaml").write_text(text, encoding="utf-8")


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


async def started(url: str, folder: Path, *options: str) -> asyncio.subprocess.Process:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESEARCH_AGENT_", "DATABASE_URL", "DEEPSEEK"))}
    addresses = {f"RESEARCH_AGENT_{s.upper()}_URL": f"{url}/{s}" for s in SOURCES}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "survey", "sow.yaml", "--no-embeddings", *options, cwd=folder,
        env={**kept, **addresses, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def survey(url: str, folder: Path, *options: str) -> tuple[int, str, str]:
    process = await started(url, folder, *options)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_it_writes_every_export_and_says_what_it_found(world: World, tmp_path: Path) -> None:
    write_sow(tmp_path, extra="language: zh\n")
    with serve(world) as server:
        code, out, err = await survey(server.url, tmp_path, "--out", "found", "--json")
    assert code == 0, err
    told, folder = json.loads(out), tmp_path / "found"
    assert told["works"] > 30
    assert set(told["requests"]) == set(SOURCES)
    assert {str(p.relative_to(tmp_path)) for p in folder.iterdir()} == set(told["files"])
    found = Survey.model_validate_json((folder / "survey.json").read_text(encoding="utf-8"))
    rows = read_csv(folder / "survey.csv")
    assert [r["key"] for r in rows if r["screening"] == "kept"] == [w.key for w in found.works]
    assert len(read_csv(folder / "ledger.csv")) == len(found.ledger)
    assert (folder / "survey.md").read_text(encoding="utf-8").startswith("# 文献调研: ")
    assert "Surveying" in err
    assert "works found" in err


async def test_a_killed_command_goes_on_without_asking_twice(world: World, tmp_path: Path) -> None:
    write_sow(tmp_path)
    with serve(world) as server:
        process = await started(server.url, tmp_path)
        await _until_asked(server, 40, process)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        before = len(server.log)
        code, out, err = await survey(server.url, tmp_path)
        twice = [q for q, times in server.answered().items() if times > 1]
    assert code == 0, err
    assert "works in scope" in out
    assert before < len(server.log)
    # What was on its way when the process died never reached it, and may be asked again.
    assert len(twice) <= 8


async def _until_asked(server: LiteratureServer, number: int, process: asyncio.subprocess.Process) -> None:
    while len(server.log) < number:
        assert process.returncode is None, "the survey ended before it could be killed"
        await asyncio.sleep(0.005)


async def test_what_is_wrong_is_said_with_an_exit_code(tmp_path: Path) -> None:
    write_sow(tmp_path, ("google",))
    code, _, err = await survey("http://127.0.0.1:9", tmp_path)
    assert (code, "no source google" in err) == (2, True)
    write_sow(tmp_path, ("hub",))
    code, out, err = await survey("http://127.0.0.1:9", tmp_path, "--max-requests", "4", "--json")
    assert (code, "No source answered" in err) == (3, True)
    assert json.loads(out)["works"] == 0


LENGTHS = """
import json, sys
for line in sys.stdin:
    texts = json.loads(line)
    if not texts:
        sys.exit(1)
    print(json.dumps([[len(t)] for t in texts]), flush=True)
"""


async def test_the_embedder_answers_in_order_and_says_when_its_process_ended() -> None:
    async with EmbedderProcess((sys.executable, "-c", LENGTHS)) as embedder:
        assert await embedder.embed(["a", "bb"]) == [[1], [2]]
        assert await embedder.embed(["\n\n\n"]) == [[3]]
        with pytest.raises(OperatorError, match="ended"):
            await embedder.embed([])
