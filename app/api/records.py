"""What a run left behind: transcripts, survey, candidates, leaderboards, search history."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import RootModel

from app.api.files import serve
from app.api.problems import PROBLEM_RESPONSES
from app.api.requests import Reader, Use
from app.candidate_service import CandidateDetail, CandidateList, candidate_detail, candidate_list, leaderboard
from app.reproduction_service import ReproductionDetail, reproduction, reproductions
from app.transcript_service import FullTranscriptPage, TranscriptPage, full_page, transcript_page
from core.types.candidate import Applicabilities, Leaderboard
from core.types.reproduction import Reproductions
from core.types.sow import Role
from core.types.transcript import StoredTranscript
from core.types.work import Survey

MAX_ID = 2**63 - 1
After = Annotated[int, Query(ge=0, le=MAX_ID)]
SurveyForm = Literal["md", "html", "bib", "csv", "csl.json", "json"]
Limit = Annotated[int, Query(ge=1, le=200)]

router = APIRouter(prefix="/v1/runs/{run_id}", responses=PROBLEM_RESPONSES)


class Document(RootModel[dict[str, Any]]):
    """A document whose form its stage defines."""


@router.get("/transcripts", tags=["transcripts"])
async def list_transcripts(use: Use, run_id: str, after: After = 0, limit: Limit = 100) -> TranscriptPage:
    """Return the agents' decisions, oldest first, without messages."""
    return await transcript_page(use, run_id, after, limit)


@router.get("/transcripts/full", tags=["transcripts"])
async def read_transcripts(use: Use, run_id: str, after: After = 0, limit: Limit = 20) -> FullTranscriptPage:
    """Return the agents' decisions with prompts, responses and tool calls in full."""
    return await full_page(use, run_id, after, limit)


@router.get("/transcripts/{transcript_id}", tags=["transcripts"])
async def read_transcript(
    use: Use, run_id: str, transcript_id: Annotated[int, Path(ge=1, le=MAX_ID)]
) -> StoredTranscript:
    """Return one conversation in full."""
    return await use.journal.transcript(run_id, transcript_id)


@router.get("/survey", tags=["survey"])
async def read_survey(use: Use, run_id: str) -> Survey:
    """Return works, taxonomy, the ledger of what was searched, and the coverage."""
    return await use.records.get(run_id, "survey", Survey)


@router.get("/survey.{suffix}", tags=["survey"])
async def export_survey(use: Use, run_id: str, suffix: SurveyForm, reader: Reader) -> Response:
    """Return the survey as Markdown, HTML, BibTeX, CSV, CSL-JSON or JSON."""
    return await serve(use, run_id, f"survey/survey.{suffix}", reader)


@router.get("/applicability", tags=["survey"])
async def read_applicability(use: Use, run_id: str) -> Applicabilities:
    """Return for every work whether it runs on this task, and why."""
    return await use.records.get(run_id, "applicability", Applicabilities)


@router.get("/candidates", tags=["candidates"])
async def list_candidates(use: Use, run_id: str) -> CandidateList:
    """Return candidates with recipes and scores."""
    return await candidate_list(use, run_id)


@router.get("/candidates/{candidate_id}", tags=["candidates"])
async def read_candidate(use: Use, run_id: str, candidate_id: str) -> CandidateDetail:
    """Return a candidate with every completion and verdict."""
    return await candidate_detail(use, run_id, candidate_id)


@router.get("/leaderboard", tags=["candidates"])
async def read_leaderboard(use: Use, run_id: str, role: Role | None = None) -> Leaderboard:
    """Return the leaderboard of a role; without one, of the role that decides most."""
    return await leaderboard(use, run_id, role)


@router.get("/reproductions", tags=["reproductions"])
async def list_reproductions(use: Use, run_id: str) -> Reproductions:
    """Return a row for each work that an agent was to reproduce: verdict, reason, cost, claim and result."""
    return await reproductions(use, run_id)


@router.get("/reproductions/{candidate_id}", tags=["reproductions"])
async def read_reproduction(
    use: Use, run_id: str, candidate_id: str, after: After = 0, limit: Limit = 100
) -> ReproductionDetail:
    """Return one reproduction with its agent's steps, as they come."""
    return await reproduction(use, run_id, candidate_id, after, limit)


@router.get("/optimization", tags=["candidates"])
async def read_optimization(use: Use, run_id: str) -> Document:
    """Return the search's history."""
    return await use.records.get(run_id, "optimization", Document)


@router.get("/confirmation", tags=["candidates"])
async def read_confirmation(use: Use, run_id: str) -> Document:
    """Return what confirmation found."""
    return await use.records.get(run_id, "confirmation", Document)
