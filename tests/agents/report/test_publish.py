"""The gate in front of publishing, the model card, and the upload to a hub."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr

from agents.report.content import ReportInput
from agents.report.publish import Hub, check_publishable, model_card, publishing_problems, upload
from core.errors import ConflictError, SourceError
from core.types.sow import Gate
from tests.agents.report.sample import sample_input


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


class FakeHub(BaseHTTPRequestHandler):
    """Enough of a hub's HTTP API for small text files."""

    seen: ClassVar[list[tuple[str, str, str]]] = []
    refuse = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.seen.append((self.path, body, self.headers.get("Authorization", "")))
        if self.refuse:
            return self._answer(401, {"error": "no"})
        if self.path.endswith("/repos/create"):
            return self._answer(200, {"url": f"http://{self.headers['Host']}/me/merge", "id": "me/merge"})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        return self._answer(
            200, {"commitUrl": f"http://{self.headers['Host']}/me/merge/commit/1", "commitOid": "1", "success": True}
        )

    def do_GET(self) -> None:
        self._answer(200, {"id": "me/merge", "sha": "0", "siblings": []})

    do_HEAD = do_GET

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    FakeHub.seen.clear()
    FakeHub.refuse = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Hub(
        endpoint=f"http://127.0.0.1:{server.server_address[1]}", repository="me/merge", token=SecretStr("hf_secret")
    )
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("# card")
    (tmp_path / "recipe.yaml").write_text("merge_method: linear")
    (tmp_path / "notes.pickle").write_bytes(b"never sent")
    return tmp_path


async def test_an_approved_result_is_uploaded_without_files_of_other_kinds(
    sample: ReportInput, hub: Hub, folder: Path
) -> None:
    address = await upload(sample, folder, hub, approved=True)
    assert address == f"{hub.endpoint}/me/merge"
    commit = next(body for path, body, _ in FakeHub.seen if "/commit/" in path)
    assert "README.md" in commit
    assert "recipe.yaml" in commit
    assert "notes.pickle" not in "".join(body for _, body, _ in FakeHub.seen)
    assert all(auth == "Bearer hf_secret" for _, _, auth in FakeHub.seen)
    assert "hf_secret" not in repr(hub)


async def test_nothing_is_sent_without_approval_or_confirmation(sample: ReportInput, hub: Hub, folder: Path) -> None:
    gated = sample.evolve(sow=sample.sow.evolve(approvals=(Gate.BEFORE_PUBLISHING,)))
    with pytest.raises(ConflictError, match="approval"):
        await upload(gated, folder, hub, approved=False)
    with pytest.raises(ConflictError, match="approval"):
        await upload(sample, folder, hub.evolve(private=False, token=hub.token), approved=False)
    with pytest.raises(ConflictError, match="tied"):
        await upload(with_verdict(sample, "tied"), folder, hub, approved=True)
    assert FakeHub.seen == []


async def test_a_hub_that_refuses_is_named(sample: ReportInput, hub: Hub, folder: Path) -> None:
    FakeHub.refuse = True
    with pytest.raises(SourceError, match="me/merge"):
        await upload(sample, folder, hub, approved=True)
