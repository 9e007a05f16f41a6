"""Which tier this machine's sandboxes are: docker when an engine answers and the image is there, else bubblewrap."""

from collections.abc import Sequence
from pathlib import Path

from agents.sandbox.bubblewrap import BubblewrapTier
from agents.sandbox.docker import DockerTier
from agents.sandbox.port import SandboxUnavailableError, Tier
from core.settings import Settings

AGENT_SERVER = Path("agent-server") / "bin" / "python"


def agent_server_python(settings: Settings) -> Path | None:
    """Return the interpreter that has the agent server (`make sandbox-env`, or an image's), or None without one."""
    python = settings.sandbox_python or settings.state_dir.absolute() / AGENT_SERVER
    return python if python.exists() else None


def tiers(settings: Settings) -> Sequence[Tier]:
    """Return the tiers that the settings allow, best first."""
    root = settings.state_dir.resolve() / "sandboxes"
    every: Sequence[Tier] = (DockerTier(root), BubblewrapTier(root, agent_server_python(settings)))
    return [t for t in every if settings.sandbox_tier in {"auto", t.name}]


async def open_tier(settings: Settings) -> Tier:
    """Return the best tier that works here, swept of what crashes left; raise SandboxUnavailableError with reasons."""
    reasons = []
    for tier in tiers(settings):
        reason = await tier.problem()
        if reason is None and tier.name == "bubblewrap" and agent_server_python(settings) is None:
            reason = "the agent server's environment is missing; run `make sandbox-env`"
        if reason is None:
            await tier.sweep()
            return tier
        reasons.append(f"{tier.name}: {reason}")
    raise SandboxUnavailableError(
        "No sandbox can be started here. " + " ".join(f"{r}." for r in reasons),
        fix="Run `make sandbox-env` (bubblewrap) or `make sandbox-image` (docker).",
    )
