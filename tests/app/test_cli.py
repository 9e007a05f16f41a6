"""The command line against a real API, each command a process of its own; exit codes are part of the contract."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from app.cli_text import percent, plain, points, styled
from app.up import _programs
from core.db import Database
from core.records import RunRecords
from core.runs import RunStore
from core.settings import Settings
from core.task_kinds import CONFIRMING_RUNS
from core.types.evaluation import Interval, Score
from core.types.reproduction import ReproductionRow
from core.types.run import RunStatus
from tests.app.conftest import TOKEN, Api
from tests.app.sample import Sampled
from tests.conftest import ROOT

COMMAND_SOW = "sow: 1\ntitle: From the command line\nkind: command\nevaluation: {command: [x], candidates: [a]}\n"


async def cli(api: Api, cwd: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, output and errors."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESEARCH_AGENT_", "DATABASE_URL"))}
    ours = {
        "PYTHONPATH": str(ROOT), "RESEARCH_AGENT_URL": api.url, "RESEARCH_AGENT_TOKEN": TOKEN, "COLUMNS": "200",
        "NO_COLOR": "1", **environment,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", *arguments, cwd=cwd, env={**kept, **ours},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_what_can_be_read(api: Api, sampled: Sampled, tmp_path: Path) -> None:
    listed, one, board, decisions, conversation, exported = await asyncio.gather(
        cli(api, tmp_path, "status", "--json"),
        cli(api, tmp_path, "status", "latest"),
        cli(api, tmp_path, "leaderboard"),
        cli(api, tmp_path, "transcript"),
        cli(api, tmp_path, "leaderboard", "latest", "--json"),
        cli(api, tmp_path, "export", sampled.run.id, "--out", "out"),
    )
    assert [r[0] for r in (listed, one, board, decisions, conversation, exported)] == [0] * 6
    assert json.loads(listed[1])["items"][0]["id"] == sampled.run.id
    assert "optimize" in one[1]
    assert "best so far: TIES" in one[1]
    assert "77.5  [69.5, 85.5]" in board[1]
    assert "seeds" in board[1]
    assert "stopped" in board[1]
    assert "classify works 1-20" in decisions[1]
    assert json.loads(conversation[1])["rows"][0]["candidate"]["id"] == "ties"
    assert (tmp_path / "out" / sampled.run.id / "survey" / "survey.bib").read_text() == "bib"
    assert "part" not in {name.rsplit(".", 1)[-1] for _, _, names in os.walk(tmp_path) for name in names}


async def test_submit_and_follow_to_the_end(api: Api, tmp_path: Path) -> None:
    (tmp_path / "sow.yaml").write_text(COMMAND_SOW)
    following = asyncio.create_task(cli(api, tmp_path, "submit", "sow.yaml", "--follow"))
    async with asyncio.timeout(240):
        while not (items := (await api.http.get("/v1/runs")).json()["items"]):
            await asyncio.sleep(0.1)
    run_id = items[0]["id"]
    await api.http.post(f"/v1/runs/{run_id}/cancel")
    code, out, _ = await following
    assert code == 4
    assert "Cancelled by request." in out


@pytest.mark.parametrize(("status", "code"), [(RunStatus.SUCCEEDED, 0), (RunStatus.FAILED, 1)])
async def test_exit_codes_of_runs(api: Api, sampled: Sampled, tmp_path: Path, status: RunStatus, code: int) -> None:
    await sampled.runs.finish(sampled.run.id, status, "why" if code else None)
    found = await cli(api, tmp_path, "follow", sampled.run.id)
    assert found[0] == code
    assert "Leaderboard (screen)" in found[1]


async def test_reproductions_are_a_table_beside_the_papers_claims(
    api: Api, db: Database, sampled: Sampled, tmp_path: Path
) -> None:
    row = ReproductionRow(
        work_key="w", work_title="Copycat", sandbox="box", candidate_id="repro-1", verdict="evaluation_failed",
        reason="this is math itself", claims=("It gains 4.2 points.",),
    )  # fmt: skip
    await RunRecords(db).put(sampled.run.id, "reproduction.repro-1", row)
    code, out, err = await cli(api, tmp_path, "reproductions", sampled.run.id)
    assert code == 0, err
    for words in ("Copycat", "evaluation failed", "It gains 4.2 points.", "this is math itself"):
        assert words in " ".join(out.split())


async def test_relative_paths_start_at_the_sow(api: Api, db: object, tmp_path: Path) -> None:
    folder = tmp_path / "a földer"
    folder.mkdir()
    (folder / "sow.yaml").write_text(COMMAND_SOW)
    code, out, err = await cli(api, tmp_path, "submit", str(folder / "sow.yaml"))
    assert code == 0, err
    assert await RunStore(db).root(out.strip()) == str(folder)  # type: ignore[arg-type]


async def test_bad_input_and_a_missing_api(api: Api, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("sow: 1\ntitel: x\n")
    (tmp_path / "sow.yaml").write_text(COMMAND_SOW)
    bad, absent, checked, away, refused, wrong = await asyncio.gather(
        cli(api, tmp_path, "submit", "bad.yaml"),
        cli(api, tmp_path, "submit", "none.yaml"),
        cli(api, tmp_path, "submit", "sow.yaml", "--validate"),
        cli(api, tmp_path, "status", RESEARCH_AGENT_URL="http://127.0.0.1:9"),
        cli(api, tmp_path, "cancel", "run-none"),
        cli(api, tmp_path, "status", RESEARCH_AGENT_HEARTBEAT_S="-1", RESEARCH_AGENT_PORT="a-secret"),
    )
    assert bad[0] == 2
    assert "titel: There is no such field. Did you mean 'title'?" in bad[2]
    assert absent[0] == 2
    assert checked[0] == 0
    assert f"{1 + CONFIRMING_RUNS} jobs" in checked[1]
    assert away[0] == 3
    assert "can't be reached" in away[2]
    assert refused[0] == 2
    assert wrong[0] == 2
    assert "heartbeat_s" in wrong[2]
    assert "a-secret" not in wrong[2]


async def test_settings_are_a_table_of_all(api: Api, tmp_path: Path) -> None:
    code, out, _ = await cli(api, tmp_path, "settings")
    assert code == 0
    assert len(out.strip().splitlines()) == len(Settings.model_fields) + 2
    assert "| `RESEARCH_AGENT_DEEPSEEK_BASE_URL` or `DEEPSEEK_BASE_URL` | `https://api.deepseek.com` |" in out


def test_text_can_not_steer_the_terminal() -> None:
    assert plain("a\x1b]0;owned\x07b\u202ec") == "a\ufffd]0;owned\ufffdb\ufffdc"
    assert styled("[red]x[/red]").plain == "[red]x[/red]"


def test_scores_in_percent() -> None:
    score = Score(metric="m", value=-0.051, interval=Interval(low=-0.1, high=0.02, method="w"), items=3)
    assert points(score) == "-5.1  [-10.0, +2.0]"
    assert percent(Score(metric="m", value=0.5, items=3)) == "50.0"
    assert percent(None) == points(None) == ""


def test_a_worker_gets_no_keys_of_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DEEPSEEK_API_KEY", "RESEARCH_AGENT_GITHUB_TOKEN", "RESEARCH_AGENT_TOKEN"):
        monkeypatch.setenv(name, "secret-value")

    class Listener:
        def fileno(self) -> int:
            return 7

    programs = {p.name: p for p in _programs(Settings(state_dir=tmp_path), "postgresql://x", Listener())}  # type: ignore[arg-type]
    assert "secret-value" not in programs["worker"].environment.values()
    assert programs["executor"].environment["DEEPSEEK_API_KEY"] == "secret-value"
    assert programs["api"].inherit == (7,)
