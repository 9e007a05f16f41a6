"""Publishing: the model card, the gate in front of it, and an upload to a model hub behind an approval.

The gate refuses what confirmation did not show to be better, and experts whose licenses the Statement of Work does not
allow. It does not read license texts.
"""

import asyncio
from pathlib import Path

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HfUriError
from pydantic import SecretStr

from agents.report.content import ReportInput, interval, percent, point_interval, points, short_id
from agents.report.render import escape_markdown
from core.errors import ConflictError, SourceError
from core.types.base import Value
from core.types.sow import Gate


class Hub(Value):
    """Where a model goes. The token is never written anywhere."""

    endpoint: str
    repository: str
    token: SecretStr | None = None
    private: bool = True


def publishing_problems(report: ReportInput) -> list[str]:
    """Return why the result must not be published; empty when it may."""
    problems = []
    confirmation = report.confirmation
    if confirmation is None or not confirmation.done:
        problems.append("the result was not confirmed on fresh items")
    elif not confirmation.improved:
        problems.append(f"confirmation ended '{confirmation.verdict}': no improvement was shown")
    if report.recipe is None:
        problems.append("the winner has no recipe")
    models = report.sow.models
    if models is not None and models.allowed_licences is not None:
        allowed = set(models.allowed_licences)
        bad = [m.name for m in (models.base, *models.experts) if m.licence not in allowed]
        if bad:
            problems.append(f"licenses of {', '.join(bad)} are unknown or not among those allowed")
    return problems


def check_publishable(report: ReportInput) -> None:
    """Raise ConflictError with every reason why the result must not be published."""
    problems = publishing_problems(report)
    if problems:
        raise ConflictError(f"This result is not published: {'; '.join(problems)}.", fix="Read the report's verdict.")


def model_card(report: ReportInput) -> str:
    """Return the model card: results with intervals, how it was made, licenses, and what was not shown."""
    models, winner = report.sow.models, report.winner
    if models is None or winner is None or report.recipe is None:
        raise ConflictError("A model card needs a merge task with a winner that has a recipe.")
    known = sorted({m.licence for m in (models.base, *models.experts) if m.licence})
    head = [
        "---",
        f"license: {known[0].lower() if len(known) == 1 else 'other'}",
        "library_name: transformers",
        "tags: [merge, mergekit]",
        "---",
        "",
        f"# {escape_markdown(report.sow.title)}",
        "",
        f"A merge of {len(models.experts)} experts on {escape_markdown(models.base.model)} by the method "
        f"`{winner.candidate.recipe.method if winner.candidate.recipe else 'unknown'}`.",
        "",
    ]
    return "\n".join([*head, *_results(report), *_parents(report), *_recipe(report)]) + "\n"


def _results(report: ReportInput) -> list[str]:
    winner, board, confirmation = report.winner, report.board, report.confirmation
    if winner is None or board is None:
        return []
    refs = " ".join(f"E:{short_id(i)}" for i in winner.evaluation_ids)
    lines = ["## Results", "", "| Slice | Score | 95 % interval | Items |", "| --- | ---: | ---: | ---: |"]
    scores = {"all": winner.score, **(winner.skills if len(winner.skills) > 1 else {})}
    lines += [
        f"| {escape_markdown(name)} ({board.role}) | {percent(s.value)} | {interval(s)} | {s.items} |"
        for name, s in scores.items()
    ]
    lines += ["", f"Evaluations: {refs or 'none'}.", ""]
    for c in confirmation.comparisons if confirmation else ():
        if c.candidate_id == winner.candidate.id:
            name = escape_markdown(report.names.get(c.reference_id, c.reference_id))
            lines.append(
                f"Against {name}: {points(c.difference.value)} points ({point_interval(c.difference)}), {c.verdict}."
            )
    if confirmation is None or not confirmation.improved:
        lines.append("No improvement over the best reference was confirmed.")
    return [*lines, ""]


def _parents(report: ReportInput) -> list[str]:
    models = report.sow.models
    if models is None:
        return []
    rows = [
        f"| {escape_markdown(m.name)} | {escape_markdown(m.model)} | {escape_markdown(m.licence or 'unknown')} |"
        for m in (models.base, *models.experts)
    ]
    return ["## Parents and their licenses", "", "| Name | Model | License |", "| --- | --- | --- |", *rows, ""]


def _recipe(report: ReportInput) -> list[str]:
    text = report.recipe.to_yaml() if report.recipe else ""
    return ["## Recipe", "", "`mergekit-yaml recipe.yaml out/` gives this model.", "", "```yaml", text.strip(), "```"]


async def upload(report: ReportInput, folder: Path, hub: Hub, *, approved: bool) -> str:
    """Upload an exported model's folder and return its address.

    Raises ConflictError without a person's approval (where the SoW asks for one, and for any public repository) or
    when the gate refuses; SourceError when the hub does.
    """
    check_publishable(report)
    if not approved and (Gate.BEFORE_PUBLISHING in report.sow.approvals or not hub.private):
        raise ConflictError("Publishing needs a person's approval.", fix="Approve at the gate before_publishing.")
    return await asyncio.to_thread(_upload, folder, hub)


def _upload(folder: Path, hub: Hub) -> str:
    api = HfApi(endpoint=hub.endpoint, token=hub.token.get_secret_value() if hub.token else False)
    try:
        api.create_repo(hub.repository, private=hub.private, exist_ok=True)
        api.upload_folder(
            repo_id=hub.repository, folder_path=folder, commit_message="Add the merged model",
            allow_patterns=["*.safetensors", "*.json", "*.md", "*.yaml", "*.model", "*.txt", "*.jinja"],
        )  # fmt: skip
    except (HfHubHTTPError, HfUriError, httpx.HTTPError, OSError) as error:
        raise SourceError(f"The hub refused the upload to {hub.repository}: {type(error).__name__}.") from error
    return f"{hub.endpoint.rstrip('/')}/{hub.repository}"
