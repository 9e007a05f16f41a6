"""Real processes: started again when they die, given up when they can't live, and never left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from app import supervisor as supervising
from app.supervisor import Program, Supervisor
from core.errors import OperatorError
from tests.conftest import ROOT

STAYS = "import time, pathlib, os\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n"
PARENT = (
    "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Program]:
    monkeypatch.chdir(tmp_path)

    def make(source: str) -> Program:
        (tmp_path / "a_program.py").write_text(source)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        return Program("one", "a_program", (), environment)

    return make


@pytest.fixture
async def said() -> list[str]:
    return []


@pytest.fixture
async def keeper(tmp_path: Path, said: list[str]) -> AsyncIterator[Supervisor]:
    keeper = Supervisor(tmp_path / "logs", said.append)
    yield keeper
    await keeper.stop()


def _pid(file: Path) -> int:
    return int(file.read_text() or 0) if file.exists() else 0


async def pid_in(file: Path, other_than: int = 0) -> int:
    async with asyncio.timeout(240):
        while (pid := _pid(file)) in {0, other_than}:
            await asyncio.sleep(0.02)
    return pid


async def test_a_killed_process_is_started_again(
    keeper: Supervisor, program: Callable[[str], Program], said: list[str], tmp_path: Path
) -> None:
    keeper.start(program(STAYS))
    first = await pid_in(tmp_path / "pid")
    os.kill(first, signal.SIGKILL)
    second = await pid_in(tmp_path / "pid", other_than=first)
    assert psutil.pid_exists(second)
    assert said == ["The one process ended (signal SIGKILL); starting it again in 1 s."]
    await keeper.stop()
    assert not psutil.pid_exists(second)


async def test_one_that_can_not_live_is_given_up_with_its_last_words(
    keeper: Supervisor, program: Callable[[str], Program], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "FIRST_PAUSE_S", 0.01)
    keeper.start(program("raise SystemExit('no room to live')"))
    with pytest.raises(OperatorError, match="no room to live"):
        await asyncio.wait_for(keeper.watch(), 240)
    assert len(said) == supervising.QUICK_DEATHS - 1


async def test_stopping_ends_the_whole_group(
    keeper: Supervisor, program: Callable[[str], Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "GRACE_S", 0.3)
    keeper.start(program(PARENT + STAYS))
    leader = psutil.Process(await pid_in(tmp_path / "pid"))
    family = [leader, *leader.children()]
    assert len(family) == 2
    await keeper.stop()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, family, 60)
    assert (len(gone), alive) == (2, [])


async def test_no_process_outlives_a_killed_parent(program: Callable[[str], Program], tmp_path: Path) -> None:
    made = program(STAYS)
    (tmp_path / "parent.py").write_text(
        "import asyncio, pathlib, os\n"
        "from app.supervisor import Program, Supervisor\n"
        "async def main():\n"
        "    keeper = Supervisor(pathlib.Path('logs'), print)\n"
        "    keeper.start(Program('one', 'a_program', (), os.environ))\n"
        "    await keeper.watch()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "parent.py", cwd=tmp_path, env=dict(made.environment))
    child = psutil.Process(await pid_in(tmp_path / "pid"))
    parent.kill()
    await parent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, [child], 60)
    assert alive == []


async def test_what_a_process_prints_is_kept(
    keeper: Supervisor, program: Callable[[str], Program], tmp_path: Path
) -> None:
    keeper.start(program("print('hello', flush=True)\n" + STAYS))
    await pid_in(tmp_path / "pid")
    assert keeper.log_of("one").read_text() == "hello\n"
