"""Which works are to be reproduced: those without a method of ours, with a repository, where the run allows it.

Every work that is not gets the reason into its row.
"""

import hashlib
from collections.abc import Sequence

from agents.context import RunContext
from agents.experiment.repository import fetchable
from agents.experiment.sandbox_network import network_of
from agents.sandbox.port import SandboxUnavailableError
from core.types.candidate import Applicability, Candidate, CandidateKind, Fidelity
from core.types.work import Survey, Work

NAME_CHARACTERS = 90


async def offer_reproductions(
    context: RunContext, survey: Survey, rows: Sequence[Applicability]
) -> tuple[list[Candidate], list[Applicability]]:
    """Return a candidate for each work that can be reproduced, and the rows with what was decided about each."""
    works = {w.key: w for w in survey.works}
    network = network_of(context.settings, context.sow.experiments)
    why_none = await _why_none(context)
    offered: list[Candidate] = []
    decided: list[Applicability] = []
    for row in rows:
        work = works.get(row.work_key or "")
        if row.fidelity is not Fidelity.NOT_BUILT_IN or work is None or work.is_survey:
            decided.append(row)
            continue
        repository = fetchable(work, network.hosts)
        reason = why_none or ("" if repository else "no repository that can be fetched is known")
        if reason:
            decided.append(row.evolve(reason=f"{row.reason}; not reproduced: {reason}"))
            continue
        candidate = _candidate(work, repository.url if repository else "")
        offered.append(candidate)
        decided.append(row.evolve(reason=f"{row.reason}; {candidate.note}", candidate_id=candidate.id))
    return offered, decided


async def _why_none(context: RunContext) -> str:
    """Return why this run reproduces nothing, or an empty text."""
    if context.sow.kind != "merge":
        return "only merge tasks are reproduced"
    if not context.sow.experiments.reproduce:
        return "the Statement of Work does not ask for it (experiments.reproduce)"
    if context.sandboxes is None:
        return "no language model is configured"
    try:
        await context.sandboxes.surroundings(context.journal, context.llm_budget)
    except SandboxUnavailableError as error:
        return f"{error.message} {error.fix or ''}".strip()
    return ""


def _candidate(work: Work, url: str) -> Candidate:
    title = " ".join(work.title.split())
    return Candidate(
        id=f"repro-{hashlib.sha256(work.key.encode()).hexdigest()[:12]}",
        name=title if len(title) <= NAME_CHARACTERS else f"{title[:NAME_CHARACTERS]}…",
        kind=CandidateKind.REPRODUCTION,
        work_key=work.key,
        fidelity=Fidelity.NOT_BUILT_IN,
        note=f"to be reproduced from {url}",
    )
