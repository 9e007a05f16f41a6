"""What the reproductions of one process share: the gateway that it serves, the driver, and how many run at a time."""

import asyncio
import os
from dataclasses import dataclass, field

import psutil

from agents.budget import LlmBudget
from agents.experiment.reproduce import Driver, Surroundings
from agents.gateway import Gateway
from agents.sandbox.choose import open_tier
from core.ports import Journal
from core.settings import Settings

SANDBOX_MB = 3072
"""Memory that one sandbox may use: the agent server takes 0.6 GB, the rest is the agent's own."""


@dataclass(frozen=True)
class Sandboxes:
    """Where and how works are reproduced; `address` is the gateway's, on this machine."""

    settings: Settings
    gateway: Gateway
    address: str
    driver: Driver
    slots: asyncio.Semaphore
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def lock(self, sandbox_id: str) -> asyncio.Lock:
        """Return what keeps this process from working twice in one sandbox."""
        return self.locks.setdefault(sandbox_id, asyncio.Lock())

    async def surroundings(self, journal: Journal, budget: LlmBudget) -> Surroundings:
        """Return what a run's reproductions have around them; raise SandboxUnavailableError with the reasons."""
        tier = await open_tier(self.settings)
        return Surroundings(tier, self.driver, self.gateway, self.address, journal, budget)


def machine_slots(settings: Settings) -> int:
    """Return how many sandboxes this machine bears at a time: one a CPU, and each with its memory."""
    if settings.sandbox_slots:
        return settings.sandbox_slots
    by_memory = psutil.virtual_memory().available // (SANDBOX_MB * 2**20)
    return max(1, min(len(os.sched_getaffinity(0)), int(by_memory)))
