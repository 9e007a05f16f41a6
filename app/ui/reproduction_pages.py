"""Pages about reproductions: the table of works with the papers' claims beside our results, and one agent's steps."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from app.api.requests import Use
from app.reproduction_service import reproduction, reproductions
from app.run_service import run_view
from app.ui.rendering import page

LAST = 2**62
STEPS = 200

router = APIRouter(include_in_schema=False)


@router.get("/runs/{run_id}/reproductions")
async def show_reproductions(use: Use, run_id: str) -> HTMLResponse:
    """Show what became of each work that an agent was to reproduce."""
    run = await run_view(use, run_id)
    return page("reproductions.html", run=run, rows=(await reproductions(use, run_id)).rows)


@router.get("/runs/{run_id}/reproductions/{candidate_id}")
async def show_reproduction(
    use: Use, run_id: str, candidate_id: str, after: Annotated[int, Query(ge=0, le=LAST)] = 0
) -> HTMLResponse:
    """Show one reproduction with its agent's steps."""
    run = await run_view(use, run_id)
    detail = await reproduction(use, run_id, candidate_id, after, STEPS)
    more = detail.next if len(detail.steps) == STEPS else None
    return page("reproduction.html", run=run, detail=detail, more=more, after=after)
