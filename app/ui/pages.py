"""Pages of the UI. They show what the API gives, work without JavaScript, and act by forms that carry a token."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.problems import ForbiddenError
from app.api.requests import Use
from app.candidate_service import candidate_detail, leaderboards
from app.file_service import file_list
from app.run_service import Decision, RunView, Submission, cancel, check_sow, decide, resume, run_page, run_view, submit
from app.service import Services
from app.token import api_token, derived, same
from app.transcript_service import full_page
from app.ui.rendering import page
from app.ui.views import boards, gauges, pipeline, verdict_counts
from core.errors import InvalidInputError, NotFoundError
from core.sow_reader import SowFormat
from core.types.candidate import Applicabilities
from core.types.run import RunStatus
from core.types.work import Survey

EVENTS_SHOWN = 60
LAST = 2**62
EXAMPLE = """\
sow: 1
title: Score two directories by a command
kind: command
task: Which of the candidates is better?
evaluation:
  command: [python3, -c, 'print({"score": 0.5})']
  metric: score
  candidates: []
"""

router = APIRouter(include_in_schema=False)


def _form_token(use: Services) -> str:
    return derived(api_token(use.settings), "form")


async def form_of(use: Use, request: Request) -> Mapping[str, str]:
    """Return a form's fields; raise ForbiddenError for one that no page of ours made."""
    fields = {k: v[-1] for k, v in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    if not same(fields.get("form_token", ""), _form_token(use)):
        raise ForbiddenError(fix="Open the page again and repeat.")
    return fields


Form = Annotated[Mapping[str, str], Depends(form_of)]


def _to_run(run_id: str) -> RedirectResponse:
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.get("/")
async def home() -> Response:
    """Lead to the list of runs."""
    return RedirectResponse("/runs", 303)


@router.get("/runs")
async def show_runs(
    use: Use, status: RunStatus | None = None, cursor: Annotated[str | None, Query(max_length=100)] = None
) -> HTMLResponse:
    """Show the list of runs."""
    found = await run_page(use, status, 50, cursor)
    return page("runs.html", runs=found.items, following=found.next, status=status, statuses=list(RunStatus))


@router.get("/runs/new")
async def show_new(use: Use) -> HTMLResponse:
    """Show the form for a Statement of Work."""
    return page("new.html", sow=EXAMPLE, form_token=_form_token(use), error=None, checked=None)


@router.post("/runs/new")
async def start_new(use: Use, form: Form) -> Response:
    """Check a Statement of Work, or start its run; show every problem beside the text."""
    text = form.get("sow", "")
    submission = Submission(text.replace("\r\n", "\n").encode(), SowFormat.YAML)
    try:
        if form.get("action") == "start":
            return _to_run((await submit(use, submission))[0].id)
        checked = await check_sow(use, submission)
    except InvalidInputError as error:
        return page("new.html", 422, sow=text, form_token=_form_token(use), error=error, checked=None)
    return page("new.html", sow=text, form_token=_form_token(use), error=None, checked=checked)


@router.get("/runs/{run_id}")
async def show_run(use: Use, run_id: str) -> HTMLResponse:
    """Show a run."""
    return page("run.html", **await _run_values(use, run_id), form_token=_form_token(use))


@router.get("/runs/{run_id}/live")
async def show_live(use: Use, run_id: str) -> HTMLResponse:
    """Show the part of a run's page that changes."""
    return page("live.html", **await _run_values(use, run_id))


async def _run_values(use: Services, run_id: str) -> dict[str, Any]:
    run = await run_view(use, run_id)
    return {
        "run": run,
        "stages": pipeline(run),
        "gauges": gauges(run),
        "boards": boards(await leaderboards(use, run_id)),
        "events": await use.journal.recent_events(run_id, EVENTS_SHOWN),
        "files": (await file_list(use, run_id)).items,
    }


@router.get("/runs/{run_id}/survey")
async def show_survey(use: Use, run_id: str) -> HTMLResponse:
    """Show what the survey found."""
    run = await run_view(use, run_id)
    survey = await _document(use.records.get(run_id, "survey", Survey))
    decided = await _document(use.records.get(run_id, "applicability", Applicabilities))
    verdicts = decided.by_work if decided else {}
    methods = {row.method: row for row in reversed(decided.rows) if row.method} if decided else {}
    listed = sorted(methods.values(), key=lambda row: row.method or "")
    return page("survey.html", run=run, survey=survey, verdicts=verdicts, methods=listed)


async def _document[D](reading: Awaitable[D]) -> D | None:
    """Return a document, or None where its stage has not made it yet."""
    try:
        return await reading
    except NotFoundError:
        return None


@router.get("/runs/{run_id}/transcripts")
async def show_transcripts(use: Use, run_id: str, after: Annotated[int, Query(ge=0, le=LAST)] = 0) -> HTMLResponse:
    """Show what agents said and did."""
    run = await run_view(use, run_id)
    found = await full_page(use, run_id, after, 50)
    more = found.next if len(found.items) == 50 else None
    return page("transcripts.html", run=run, transcripts=found.items, more=more, after=after)


@router.get("/runs/{run_id}/candidates/{candidate_id}")
async def show_candidate(use: Use, run_id: str, candidate_id: str) -> HTMLResponse:
    """Show a candidate: its recipe, and every item's verdict with the code."""
    run = await run_view(use, run_id)
    detail = await candidate_detail(use, run_id, candidate_id)
    counted = [(e, verdict_counts(e)) for e in detail.evaluations]
    return page("candidate.html", run=run, detail=detail, evaluations=counted)


async def _act(run_id: str, action: Callable[[], Awaitable[RunView]]) -> RedirectResponse:
    await action()
    return _to_run(run_id)


@router.post("/runs/{run_id}/cancel")
async def do_cancel(use: Use, run_id: str, form: Form) -> Response:
    """Cancel a run."""
    return await _act(run_id, lambda: cancel(use, run_id))


@router.post("/runs/{run_id}/resume")
async def do_resume(use: Use, run_id: str, form: Form) -> Response:
    """Go on with a run."""
    return await _act(run_id, lambda: resume(use, run_id))


@router.post("/runs/{run_id}/decision")
async def do_decide(use: Use, run_id: str, form: Form) -> Response:
    """Answer at a gate."""
    decision = Decision(approve=form.get("approve") == "yes", note=form.get("note", "")[:2000])
    return await _act(run_id, lambda: decide(use, run_id, decision))
