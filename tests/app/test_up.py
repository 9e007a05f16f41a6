"""`up` on a fresh machine: a database, an API that serves, one instance, a clean end; and ports that are taken."""

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import ROOT


async def start(state: Path, port: int, *arguments: str) -> asyncio.subprocess.Process:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESEARCH_AGENT_", "DATABASE_URL"))}
    ours = {"PYTHONPATH": str(ROOT), "RESEARCH_AGENT_STATE_DIR": str(state), "RESEARCH_AGENT_PORT": str(port)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "up", *arguments, env={**kept, **ours, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
async def test_up_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await start(state, port)
        assert process.stdout is not None
        said = ""
        async with asyncio.timeout(240):
            while "Logs:" not in said:
                line = (await process.stdout.readline()).decode()
                assert line, said
                said += line
    link = re.search(r"Open (http://127\.0\.0\.1:(\d+))/\?token=(\S+)", said)
    assert link is not None, said
    assert f"Port {port} can't be used" in said
    assert int(link.group(2)) != port
    assert (state / "url").read_text() == link.group(1)
    assert (state / "token").read_text().strip() == link.group(3)
    family = psutil.Process(process.pid).children(recursive=True)
    async with httpx.AsyncClient(base_url=link.group(1), trust_env=False, follow_redirects=True) as http:
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        assert "No run yet" in (await http.get("/", params={"token": link.group(3)})).text
    second = await start(state, port)
    out, _ = await second.communicate()
    assert (second.returncode, b"running already" in out) == (0, True)
    process.send_signal(signal.SIGTERM)
    rest, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, rest.decode()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 60)
    assert alive == []
    assert not (state / "url").exists()
