"""The docker tier, where an engine answers.

RESEARCH_AGENT_TEST_BASE_IMAGE names a local image with Python 3.12 or later to build docker/openhands.Dockerfile from.
"""

import os
import subprocess
from pathlib import Path

import pytest
from docker.errors import DockerException, ImageNotFound

import docker
from agents.sandbox.docker import DockerTier
from agents.sandbox.port import Tier
from tests.agents.sandbox.contract import SandboxContract
from tests.agents.sandbox.network_contract import NetworkContract
from tests.conftest import ROOT

BASE = os.environ.get("RESEARCH_AGENT_TEST_BASE_IMAGE", "research-agent-test-base:trixie")
IMAGE = "research-agent-openhands-test"
MISSING = "THE DOCKER TIER IS NOT TESTED HERE"


@pytest.fixture(scope="session")
def image() -> str:
    """Build docker/openhands.Dockerfile, without the agent server, from the local base image."""
    try:
        client = docker.from_env(timeout=10)
        client.images.get(BASE)
    except ImageNotFound:
        pytest.skip(f"{MISSING}: there is no base image {BASE!r}; make one with debootstrap and `docker import`")
    except DockerException as error:
        pytest.skip(f"{MISSING}: no engine answers ({str(error)[:200]})")
    command = ["docker", "build", "-q", "-t", IMAGE, "-f", "docker/openhands.Dockerfile"]
    command += ["--build-arg", f"BASE_IMAGE={BASE}", "--build-arg", "AGENT_SERVER=0", "."]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    client.close()
    return IMAGE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sandboxes"


@pytest.fixture
def tier(root: Path, image: str) -> Tier:
    return DockerTier(root, image)


@pytest.mark.slow
class TestDocker(SandboxContract, NetworkContract):
    async def test_a_missing_image_is_said(self, root: Path, image: str) -> None:
        assert "There is no image" in str(await DockerTier(root, "no-such-image-here").problem())
