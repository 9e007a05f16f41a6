"""Endpoints of runs: start, list, read, cancel, resume, decide; and validation of a SoW without a run."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from app.api.problems import PROBLEM_RESPONSES
from app.api.requests import FORMATS, Reader, Sow, Use
from app.run_service import (
    CheckedSow,
    Decision,
    RunPage,
    RunView,
    cancel,
    check_sow,
    decide,
    resume,
    run_page,
    run_view,
    submit,
)
from core.types.run import RunStatus

RETRY_AFTER_S = "2"
SOW_BODY = {
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {"$ref": "#/components/schemas/StatementOfWork"}} for name in FORMATS},
    }
}

router = APIRouter(prefix="/v1", tags=["runs"], responses=PROBLEM_RESPONSES)


def _accepted(run: RunView, *, replayed: bool = False) -> JSONResponse:
    headers = {"Location": run.links["self"], "Retry-After": RETRY_AFTER_S}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(run.model_dump(mode="json"), 202, headers)


@router.post("/runs", status_code=202, response_model=RunView, openapi_extra=SOW_BODY)
async def start_run(use: Use, sow: Sow) -> Response:
    """Start a run of a Statement of Work."""
    run, new = await submit(use, sow)
    return _accepted(run, replayed=not new)


@router.post("/sow/validate", openapi_extra=SOW_BODY)
async def validate_sow(use: Use, sow: Sow) -> CheckedSow:
    """Return the normalized Statement of Work and a forecast of its cost, without starting anything."""
    return await check_sow(use, sow)


@router.get("/runs")
async def list_runs(
    use: Use,
    status: RunStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100, pattern=r"^[\w-]+$")] = None,
) -> RunPage:
    """Return runs, newest first."""
    return await run_page(use, status, limit, cursor)


@router.get("/runs/{run_id}", response_model=RunView)
async def read_run(use: Use, run_id: str, reader: Reader) -> Response:
    """Return a run: status, stage, progress, budget spent and left, best candidate, links."""
    run = await run_view(use, run_id)
    headers = {} if run.status.terminal else {"Retry-After": RETRY_AFTER_S}
    return reader.answer(f'W/"{run.id}.{run.version}"', run, headers)


@router.post("/runs/{run_id}/cancel", status_code=202, response_model=RunView)
async def cancel_run(use: Use, run_id: str) -> Response:
    """Cancel a run that has not ended."""
    return _accepted(await cancel(use, run_id))


@router.post("/runs/{run_id}/resume", status_code=202, response_model=RunView)
async def resume_run(use: Use, run_id: str) -> Response:
    """Go on with a failed or cancelled run from its last checkpoint."""
    return _accepted(await resume(use, run_id))


@router.post("/runs/{run_id}/decision", status_code=202, response_model=RunView)
async def decide_run(use: Use, run_id: str, decision: Decision) -> Response:
    """Answer at the gate where a run waits."""
    return _accepted(await decide(use, run_id, decision))
