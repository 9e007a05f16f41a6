"""Candidates of a run with their scores, and single ones with every item's outcome."""

from datetime import datetime

from app.service import Services
from core.errors import NotFoundError
from core.types.base import Value
from core.types.candidate import Candidate, Leaderboard
from core.types.evaluation import Evaluation, EvaluationSummary
from core.types.sow import Role

# The board that decides most comes first: what was confirmed, then what was screened, then what a search saw.
ROLES = (Role.CONFIRM, Role.SCREEN, Role.SEARCH, Role.SHOW)


class CandidateRow(Value):
    """A candidate with its recipe as YAML and the scores of its evaluations."""

    candidate: Candidate
    recipe_yaml: str | None
    evaluations: tuple[EvaluationSummary, ...]


class CandidateList(Value):
    """All candidates of a run, oldest first."""

    items: tuple[CandidateRow, ...]


class JobRow(Value):
    """A worker's job for a candidate."""

    key: str
    kind: str
    status: str
    attempt: int
    worker: str | None
    done: int
    total: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class CandidateDetail(Value):
    """A candidate with every completion and verdict of its evaluations."""

    candidate: Candidate
    recipe_yaml: str | None
    evaluations: tuple[Evaluation, ...]
    jobs: tuple[JobRow, ...]


async def candidate_list(services: Services, run_id: str) -> CandidateList:
    """Return a run's candidates; raise NotFoundError when there is no such run."""
    await services.runs.get(run_id)
    found: dict[str, list[EvaluationSummary]] = {}
    for evaluation in await services.jobs.evaluations(run_id):
        found.setdefault(evaluation.candidate_id, []).append(evaluation)
    return CandidateList(
        items=tuple(
            CandidateRow(candidate=c, recipe_yaml=_yaml(c), evaluations=tuple(found.get(c.id, ())))
            for c in await services.records.candidates(run_id)
        )
    )


async def candidate_detail(services: Services, run_id: str, candidate_id: str) -> CandidateDetail:
    """Return one candidate; raise NotFoundError when the run has none with this id."""
    candidate = await services.records.candidate(run_id, candidate_id)
    results = await services.jobs.results(run_id, candidate_id)
    jobs = await services.jobs.of_run(run_id, candidate_id)
    return CandidateDetail(
        candidate=candidate,
        recipe_yaml=_yaml(candidate),
        evaluations=tuple(r for r in results if isinstance(r, Evaluation)),
        jobs=tuple(JobRow(**{name: job[name] for name in JobRow.model_fields}) for job in jobs),
    )


async def leaderboard(services: Services, run_id: str, role: Role | None) -> Leaderboard:
    """Return the board of a role, or the one that decides most; raise NotFoundError when there is none yet."""
    await services.runs.get(run_id)
    if role is not None:
        return await services.records.get(run_id, f"leaderboard.{role.value}", Leaderboard)
    boards = await leaderboards(services, run_id)
    if not boards:
        raise NotFoundError(f"Run {run_id!r} has no leaderboard yet.")
    return boards[0]


async def leaderboards(services: Services, run_id: str) -> list[Leaderboard]:
    """Return all boards of a run, the one that decides most first."""
    found = []
    for role in ROLES:
        try:
            found.append(await services.records.get(run_id, f"leaderboard.{role.value}", Leaderboard))
        except NotFoundError:
            continue
    return found


def _yaml(candidate: Candidate) -> str | None:
    return None if candidate.recipe is None else candidate.recipe.to_yaml()
