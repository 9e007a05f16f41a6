import contextlib
from pathlib import Path

import psutil
import pytest

from agents.sandbox.bubblewrap import BubblewrapTier, inhabitants
from agents.sandbox.port import SandboxSpec, SandboxUnavailableError, Tier, run
from tests.agents.sandbox.contract import SandboxContract, started
from tests.agents.sandbox.network_contract import NetworkContract


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sandboxes"


@pytest.fixture
async def tier(root: Path) -> Tier:
    made = BubblewrapTier(root)
    problem = await made.problem()
    if problem:
        pytest.skip(f"THE BUBBLEWRAP TIER IS NOT TESTED HERE: {problem}")
    return made


class TestBubblewrap(SandboxContract, NetworkContract):
    async def test_a_gpu_is_refused(self, tier: Tier) -> None:
        with pytest.raises(SandboxUnavailableError, match="gives no GPU"):
            await tier.start(SandboxSpec(id="gpu-1", gpu="0"))

    async def test_nothing_but_the_workspace_and_two_bounded_places_can_be_written(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            script = (
                "for d in / /dev /etc /opt /run /run/host /usr; do echo x > $d/x && echo $d; done; df -k /tmp /dev/shm"
            )
            header, *rows = (await run(sandbox, ["sh", "-c", script])).stdout.splitlines()
            assert header.startswith("Filesystem")
            assert ["262144" in row for row in rows] == [True, True]

    async def test_no_namespace_can_be_made_inside(self, tier: Tier) -> None:
        async with started(tier) as sandbox:
            assert not (await run(sandbox, ["unshare", "-Ur", "true"])).ok

    async def test_who_is_within_is_told_by_the_mounted_workspace(self, tier: Tier) -> None:
        async with started(tier) as sandbox, started(tier) as other:
            command = ["sh", "-c", "(setsid sleep 60 &); echo started; sleep 60"]
            async with contextlib.aclosing(sandbox.stream(command)) as pieces:
                await anext(pieces)
                within = {psutil.Process(pid).name() for pid in inhabitants(sandbox.workspace)}
                assert {"sh", "sleep"} <= within
                assert inhabitants(other.workspace) == []
            assert inhabitants(sandbox.workspace) == []
