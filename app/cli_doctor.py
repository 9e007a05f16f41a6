"""The `doctor` command: print what was found."""

import asyncio
from pathlib import Path

from rich.console import Console

from app.cli_client import load_settings, read_sow_file
from app.cli_text import styled, table
from app.doctor import Finding, examine
from app.doctor_sow import examine_sow
from core.sow_reader import format_of_suffix, read_sow

STYLES = {Finding.OK: "green", Finding.NOTE: "yellow", Finding.MISSING: "red"}


def diagnose(sow: Path | None, as_json: bool) -> bool:
    """Print what this machine can do, and what it lacks to run a SoW; return whether nothing is missing."""
    console = Console()
    settings = load_settings()
    checks = asyncio.run(examine(settings))
    if sow is not None:
        file = read_sow_file(sow)
        checks += examine_sow(read_sow(file.body, format_of_suffix(sow.suffix)), file.folder, settings)
    if as_json:
        console.print_json(data=[c.model_dump(mode="json") for c in checks])
    else:
        rows = [(styled(c.finding.value, STYLES[c.finding]), c.name, c.detail, c.fix or "") for c in checks]
        console.print(table(("", "what", "found", "what to do"), rows))
    return all(c.finding is not Finding.MISSING for c in checks)
