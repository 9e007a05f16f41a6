"""The gate in front of publishing, the model card, and the upload to a hub."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from pydantic import SecretStr

from agents.report.content import ReportInput
from agents.report.model_card import model_card
from agents.report.publish import Hub, check_publishable, publishing_problems, upload
from core.errors import ConflictError, SourceError
from core.types.sow import Gate
from tests.agents.report.sample import sample_input
from tests.fakes.hub_server import HubServer


@pytest.fixture(scope="module")
def sample() -> ReportInput:
    return asyncio.run(sample_input(trials=24))


def with_verdict(report: ReportInput, verdict: str) -> ReportInput:
    assert report.confirmation is not None
    return report.evolve(confirmation=report.confirmation.evolve(verdict=verdict))


def test_a_confirmed_improvement_passes(sample: ReportInput) -> None:
    assert publishing_problems(sample) == []


@pytest.mark.parametrize("verdict", ["tied", "worse"])
def test_what_confirmation_did_not_show_is_refused(sample: ReportInput, verdict: str) -> None:
    with pytest.raises(ConflictError, match=f"confirmation ended '{verdict}'"):
        check_publishable(with_verdict(sample, verdict))
    with pytest.raises(ConflictError, match="not confirmed"):
        check_publishable(sample.evolve(confirmation=None))


def test_licenses_that_are_not_allowed_are_refused(sample: ReportInput) -> None:
    models = sample.sow.models
    assert models is not None
    strict = sample.evolve(sow=sample.sow.evolve(models=models.evolve(allowed_licences=("MIT",))))
    assert "licenses of base, code, math, chat" in publishing_problems(strict)[0]


def test_the_card_has_results_parents_and_the_recipe(sample: ReportInput) -> None:
    card = model_card(sample)
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "| org/code | Apache-2.0 |" in card
    assert sample.recipe is not None
    assert sample.recipe.to_yaml().strip() in card
    assert "base_model: org/base" in card
    assert sample.winner is not None
    assert f"{sample.winner.score.value * 100:.1f}" in card
    assert "No improvement over the best reference was confirmed." in model_card(with_verdict(sample, "tied"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    # The client's other way, Xet, talks to services that only the real hub has.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with HubServer() as started:
        yield started


@pytest.fixture
def hub(server: HubServer) -> Hub:
    return Hub(endpoint=server.url, repository="me/merge", token=SecretStr("hf_secret"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("# card")
    (tmp_path / "recipe.yaml").write_text("merge_method: linear")
    (tmp_path / "notes.pickle").write_bytes(b"never sent")
    return tmp_path


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client sends weights so
async def test_an_approved_result_is_uploaded_without_files_of_other_kinds(
    sample: ReportInput, server: HubServer, hub: Hub, folder: Path
) -> None:
    weights = np.random.default_rng(0).bytes(200_000)
    (folder / "model.safetensors").write_bytes(weights)
    address = await upload(sample, folder, hub, approved=True)
    assert address == f"{hub.endpoint}/me/merge"
    stored = server.files["me/merge"]
    assert set(stored) == {"README.md", "recipe.yaml", "model.safetensors"}
    assert stored["model.safetensors"] == weights
    assert stored["README.md"] == b"# card"
    assert server.private == {"me/merge": True}
    assert server.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in repr(hub)


async def test_nothing_is_sent_without_approval_or_confirmation(
    sample: ReportInput, server: HubServer, hub: Hub, folder: Path
) -> None:
    gated = sample.evolve(sow=sample.sow.evolve(approvals=(Gate.BEFORE_PUBLISHING,)))
    with pytest.raises(ConflictError, match="approval"):
        await upload(gated, folder, hub, approved=False)
    with pytest.raises(ConflictError, match="approval"):
        await upload(sample, folder, hub.evolve(private=False, token=hub.token), approved=False)
    with pytest.raises(ConflictError, match="tied"):
        await upload(with_verdict(sample, "tied"), folder, hub, approved=True)
    assert server.files == {}


async def test_a_hub_that_refuses_is_named(sample: ReportInput, server: HubServer, hub: Hub, folder: Path) -> None:
    server.refuse = True
    with pytest.raises(SourceError, match="me/merge"):
        await upload(sample, folder, hub, approved=True)
