"""`research-agent sandbox smoke` as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

AGENT_SERVER = ROOT / ".state" / "agent-server"


def smoke(state_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RESEARCH_AGENT_", "DEEPSEEK_"))}
    environment |= {"RESEARCH_AGENT_STATE_DIR": str(state_dir), "RESEARCH_AGENT_SANDBOX_TIER": "bubblewrap"}
    command = [sys.executable, "-m", "app.cli", "sandbox", "smoke", *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=250
    )  # fmt: skip


def test_without_a_sandbox_it_says_what_to_do(tmp_path: Path) -> None:
    done = smoke(tmp_path)
    assert done.returncode == 3, done.stderr
    assert "make sandbox-env" in done.stderr


@pytest.mark.slow
def test_hello_world(tmp_path: Path) -> None:
    if not AGENT_SERVER.exists():
        pytest.skip("OPENHANDS IS NOT TESTED HERE: its environment is missing; run `make sandbox-env`")
    (tmp_path / "agent-server").symlink_to(AGENT_SERVER)
    done = smoke(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["tier"], seen["model"], seen["output"]) == ("bubblewrap", "scripted", "hello world\n")
    assert (seen["conversed"]["ended"], seen["gone"]) == ("finished", True)
    steps = [line.split()[0] for line in done.stderr.splitlines()]
    assert steps.count("Action") == steps.count("Observation") == 3
    assert list((tmp_path / "sandboxes").iterdir()) == []
