"""`up` on a fresh machine: a database, an API that serves, one instance, a clean end; and ports that are taken."""

import asyncio
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from tests.app.machine import link_of, read_until, start_up


@pytest.mark.slow
async def test_up_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await start_up(state, port)
        said = await read_until(process, "Logs:")
    link = link_of(said)
    assert f"Port {port} can't be used" in said
    assert not link.url.endswith(f":{port}")
    assert (state / "url").read_text() == link.url
    assert (state / "token").read_text().strip() == link.token
    family = psutil.Process(process.pid).children(recursive=True)
    async with httpx.AsyncClient(base_url=link.url, trust_env=False, follow_redirects=True) as http:
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        assert "No run yet" in (await http.get("/", params={"token": link.token})).text
    second = await start_up(state, port)
    out, _ = await second.communicate()
    assert (second.returncode, b"running already" in out) == (0, True)
    process.send_signal(signal.SIGTERM)
    rest, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, rest.decode()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, 60)
    assert alive == []
    assert not (state / "url").exists()
