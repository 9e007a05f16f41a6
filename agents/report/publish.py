"""Publishing: the gate in front of it, the export of the winner as a worker's job, an upload behind an approval.

The gate refuses what confirmation did not show to be better, and experts whose licenses the Statement of Work does not
allow. It does not read license texts.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HfUriError
from pydantic import SecretStr

from agents.context import RunContext
from agents.report.content import ReportInput
from agents.report.gather import gather
from agents.report.model_card import model_card
from core.calibration import calibration_for
from core.errors import ConflictError, JobFailedError, NotFoundError, SourceError
from core.types.base import Value
from core.types.job import Exported, MergeExport
from core.types.publication import Publication
from core.types.run import Stage
from core.types.sow import Gate

DOCUMENT = "publication"
FOLDER = "model"
MEDIA = {"json": "application/json", "md": "text/markdown", "yml": "application/yaml", "txt": "text/plain"}


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


async def publish_result(context: RunContext) -> None:
    """Export the winner where the gate lets it through, upload it where that is set up, and keep what became of it."""
    report = await gather(context)
    problems = publishing_problems(report)
    found = Publication(problems=tuple(problems)) if problems else await _publish(context, report)
    await context.records.put(context.run_id, DOCUMENT, found)
    said = f"Not published: {'; '.join(found.problems)}." if found.problems else f"Exported {len(found.files)} files."
    where = f" Uploaded to {found.address}." if found.address else ""
    await context.journal.event(
        "model.kept_back" if found.problems else "model.exported", " ".join(filter(None, (said + where, found.note))),
        stage=Stage.REPORT, problems=found.problems, files=sorted(found.files), address=found.address,
    )  # fmt: skip


async def _publish(context: RunContext, report: ReportInput) -> Publication:
    winner, models = report.winner, report.sow.models
    if winner is None or winner.candidate.recipe is None or models is None:
        raise TypeError("the gate lets only winners with a recipe through")
    payload = MergeExport(
        candidate_id=winner.candidate.id, models=models, recipe=winner.candidate.recipe, card=model_card(report),
        root=context.root, calibration=calibration_for(report.sow, winner.candidate.recipe.method),
    )  # fmt: skip
    try:
        result = await context.jobs.run(payload)
    except JobFailedError as error:
        return Publication(problems=(f"the export failed: {error.message}",))
    if not isinstance(result, Exported):
        return Publication(problems=("the export gave no files",))
    names = {f"{FOLDER}/{name}": digest for name, digest in sorted(result.files.items())}
    for name, digest in names.items():
        media = MEDIA.get(name.rpartition(".")[2], "application/octet-stream")
        await context.artifacts.name(context.run_id, name, digest, media)
    found = Publication(candidate_id=winner.candidate.id, files=names, checksum=result.checksum)
    return await _uploaded(context, report, found) if context.settings.publish_to else found


async def _uploaded(context: RunContext, report: ReportInput, found: Publication) -> Publication:
    """Upload the files. The run came past its gates: where the SoW names the one before publishing, a person agreed."""
    hub = Hub(
        endpoint=context.settings.hub_url, token=context.settings.hub_token,
        repository=f"{context.settings.publish_to}/{context.run_id}",
    )  # fmt: skip
    approved = Gate.BEFORE_PUBLISHING in context.sow.approvals
    if not approved:
        return found.evolve(note="Not uploaded: the Statement of Work does not ask for approval before publishing.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            _link(context, found.files, Path(folder))
            address = await upload(report, Path(folder), hub, approved=approved)
        except (SourceError, NotFoundError) as error:
            return found.evolve(note=f"Not uploaded: {error.message}")
    return found.evolve(address=address)


def _link(context: RunContext, files: Mapping[str, str], folder: Path) -> None:
    """Lay the stored bytes out under their names."""
    for name, digest in files.items():
        bytes_of = context.artifacts.path_of(digest).resolve()
        if not bytes_of.is_file():
            raise NotFoundError(f"the bytes of {name} are not on this host; share the artifact directory")
        (folder / Path(name).name).symlink_to(bytes_of)


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
            allow_patterns=["*.safetensors", "*.json", "*.md", "*.yaml", "*.yml", "*.model", "*.txt", "*.jinja"],
        )  # fmt: skip
    except (HfHubHTTPError, HfUriError, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        # The client wraps a failed upload of weights in a plain RuntimeError, and answers it can't read in ValueError.
        raise SourceError(f"The hub refused the upload to {hub.repository}: {type(error).__name__}.") from error
    return f"{hub.endpoint.rstrip('/')}/{hub.repository}"
