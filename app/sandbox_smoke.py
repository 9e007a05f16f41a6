"""`research-agent sandbox smoke`: the hello-world check of a sandbox; without a key its model is a script."""

import httpx

from agents.gateway import Gateway
from agents.provider import llm_settings
from agents.sandbox.choose import open_tier
from agents.sandbox.smoke import HelloWorldModel, Smoke, SmokeFailedError, smoke
from app.gateway import serving
from core.ports import Journal
from core.settings import Settings

__all__ = ["SmokeFailedError", "sandbox_smoke"]


async def sandbox_smoke(settings: Settings, journal: Journal) -> Smoke:
    """Do the check on the tier that this machine would use; raise an error of ours that says what is missing."""
    tier = await open_tier(settings)
    model = llm_settings(settings)
    transport = None if model.api_key else HelloWorldModel()
    if transport is not None:
        model = model.evolve(model="scripted")
    async with httpx.AsyncClient(transport=transport) as http:
        gateway = Gateway(model, http)
        async with serving(gateway) as address:
            return await smoke(tier, gateway, address, journal)
