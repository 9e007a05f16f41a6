"""Runs over REST: start, replay, read, list, act; and every error as a problem document."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.application import create_app
from core.runs import RunStore
from core.task_kinds import CONFIRMING_RUNS
from core.types.run import RunStatus
from tests.app.conftest import TOKEN, Api
from tests.app.sample import Sampled

SOW = b"sow: 1\ntitle: A command task\nkind: command\nevaluation: {command: [x], candidates: [a]}\n"
YAML = {"Content-Type": "application/yaml"}


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:research-agent:problem:{code}"
    assert set(body) == {"type", "title", "status", "detail", "code", "fix", "problems"}
    return body


async def start(api: Api, **headers: str) -> httpx.Response:
    return await api.http.post("/v1/runs", content=SOW, headers={**YAML, **headers})


async def test_a_run_is_accepted_with_its_place(api: Api) -> None:
    response = await start(api)
    assert response.status_code == 202
    assert int(response.headers["retry-after"]) > 0
    run = (await api.http.get(response.headers["location"])).json()
    assert run["status"] == "queued"
    assert run["sow"]["title"] == "A command task"
    assert run["links"]["self"] == response.headers["location"]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b'{"sow": 1, "title": "abc", "kind": "command", "evaluation": {"command": ["x"]}}'),
        ("text/markdown; charset=utf-8", b"---\n" + SOW + b"---\nProse.\n"),
        ("text/yaml", SOW),
    ],
)
async def test_the_forms_of_a_sow(api: Api, media_type: str, body: bytes) -> None:
    response = await api.http.post("/v1/runs", content=body, headers={"Content-Type": media_type})
    assert response.status_code == 202, response.text


async def test_the_same_key_and_body_give_the_same_run(api: Api) -> None:
    first, again = await start(api, **{"Idempotency-Key": "k1"}), await start(api, **{"Idempotency-Key": "k1"})
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = await api.http.post("/v1/runs", content=SOW + b"seed: 5\n", headers={**YAML, "Idempotency-Key": "k1"})
    problem(other, 422, "invalid_input")
    assert (await start(api)).json()["id"] != first.json()["id"]


async def test_an_invalid_sow_names_every_field(api: Api) -> None:
    response = await api.http.post("/v1/runs", content=b"sow: 2\ntitel: x\n", headers=YAML)
    body = problem(response, 422, "invalid_input")
    assert {"sow", "title", "titel"} <= {p["path"] for p in body["problems"]}
    assert all({"path", "given", "allowed", "message"} <= set(p) for p in body["problems"])


async def test_prose_alone(api: Api) -> None:
    response = await api.http.post("/v1/runs", content=b"# Do it\n", headers={"Content-Type": "text/markdown"})
    assert problem(response, 422, "needs_language_model")["fix"]


async def test_protocol_errors(api: Api) -> None:
    problem(await api.http.post("/v1/runs", content=SOW), 415, "unsupported_media_type")
    problem(await api.http.get("/v1/nothing"), 404, "not_found")
    refused = await api.http.put("/v1/runs")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, POST"
    problem(await api.http.get("/v1/runs/run-none"), 404, "not_found")
    body = problem(await api.http.get("/v1/runs", params={"limit": "0", "status": "odd"}), 422, "invalid_input")
    assert {p["path"] for p in body["problems"]} == {"query.limit", "query.status"}
    problem(await api.http.post("/v1/runs/run-x/decision", content=b"{"), 422, "invalid_input")
    problem(await api.http.post("/v1/runs/run-x/decision", json={"approve": True, "more": 1}), 422, "invalid_input")


async def test_bodies_are_limited_declared_or_not(api: Api) -> None:
    limit = api.settings.max_body_bytes
    problem(await api.http.post("/v1/runs", content=b"x" * (limit + 1), headers=YAML), 413, "too_large")

    async def stream() -> Any:
        for _ in range(20):
            yield b"x" * (limit // 10)

    problem(await api.http.post("/v1/runs", content=stream(), headers=YAML), 413, "too_large")


async def test_an_internal_error_shows_nothing_of_itself(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(api.settings)

    @app.get("/v1/broken")
    async def broken() -> None:
        raise RuntimeError("postgresql://user:secret@host")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        response = await http.get("/v1/broken")
    assert "secret" not in json.dumps(problem(response, 500, "internal"))


async def test_an_unchanged_run_is_not_sent_again(api: Api, sampled: Sampled) -> None:
    address = f"/v1/runs/{sampled.run.id}"
    first = await api.http.get(address)
    tag = first.headers["etag"]
    assert first.headers["retry-after"]
    same = await api.http.get(address, headers={"If-None-Match": f'"other", {tag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == tag
    await sampled.runs.set_best(sampled.run.id, "linear")
    changed = await api.http.get(address, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_what_a_reader_of_a_run_sees(api: Api, sampled: Sampled) -> None:
    run = (await api.http.get(f"/v1/runs/{sampled.run.id}")).json()
    assert run["stage"] == "optimize"
    assert run["progress"]["experiment"] == {"done": 5, "total": 5, "note": ""}
    assert run["best"]["name"] == "TIES"
    assert run["budget_left"]["trials"] == 13
    assert 29 < run["budget_left"]["wall_clock_minutes"] <= 30
    assert run["budget_left"]["llm_usd"] is None
    for name, link in run["links"].items():
        if name != "ui":
            assert (await api.http.get(link)).status_code == 200, name


async def test_pages_of_runs(api: Api) -> None:
    made = [(await start(api)).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        parameters = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = (await api.http.get("/v1/runs", params=parameters)).json()
        seen += [r["id"] for r in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    problem(await api.http.get("/v1/runs", params={"cursor": "run-none"}), 422, "invalid_input")


async def test_runs_by_status(api: Api, sampled: Sampled) -> None:
    await start(api)
    running = (await api.http.get("/v1/runs", params={"status": "running"})).json()["items"]
    assert [r["id"] for r in running] == [sampled.run.id]


async def test_cancel_and_resume(api: Api) -> None:
    address = (await start(api)).headers["location"]
    problem(await api.http.post(f"{address}/resume"), 409, "conflict")
    assert (await api.http.post(f"{address}/cancel")).json()["status"] == "cancelled"
    assert "cancelled" in problem(await api.http.post(f"{address}/cancel"), 409, "conflict")["detail"]
    resumed = await api.http.post(f"{address}/resume")
    assert (resumed.status_code, resumed.json()["status"]) == (202, "queued")
    problem(await api.http.post("/v1/runs/run-none/cancel"), 404, "not_found")


async def test_a_decision_is_taken_only_at_a_gate(api: Api, sampled: Sampled) -> None:
    address = f"/v1/runs/{sampled.run.id}"
    problem(await api.http.post(f"{address}/decision", json={"approve": True}), 409, "conflict")
    await sampled.runs.wait_at(sampled.run.id, "before_publishing")
    assert (await api.http.get(address)).json()["gate"] == "before_publishing"
    answer = await api.http.post(f"{address}/decision", json={"approve": False, "note": "not yet"})
    assert answer.status_code == 202
    assert await sampled.runs.take_decision(sampled.run.id) == {"approve": False, "note": "not yet"}


async def test_validation_forecasts_and_starts_nothing(api: Api) -> None:
    answer = await api.http.post("/v1/sow/validate", content=SOW, headers=YAML)
    assert answer.status_code == 200
    assert answer.json()["forecast"]["jobs"] == 1 + CONFIRMING_RUNS
    assert answer.json()["sow"]["seed"] == 0
    assert (await api.http.get("/v1/runs")).json()["items"] == []
    problem(await api.http.post("/v1/sow/validate", content=b"sow: 1", headers=YAML), 422, "invalid_input")


async def test_a_local_client_may_say_where_paths_start(api: Api, db: Any, tmp_path: Path) -> None:
    folder = tmp_path / "with späces"
    folder.mkdir()
    header = "Research-Agent-Root"
    from_here = await start(api, **{header: str(folder).replace("ä", "%C3%A4")})
    assert await RunStore(db).root(from_here.json()["id"]) == str(folder)
    problem(await start(api, **{header: str(tmp_path / "none")}), 422, "invalid_input")
    problem(await start(api, **{header: "relative"}), 422, "invalid_input")
    proxied = await start(api, **{header: str(tmp_path), "X-Forwarded-For": "203.0.113.5"})
    assert "own machine" in problem(proxied, 422, "invalid_input")["detail"]


async def test_the_schema_names_every_route_and_the_form_of_errors(api: Api) -> None:
    async with api.stranger() as stranger:
        schema = (await stranger.get("/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    assert {"/v1/runs", "/v1/runs/{run_id}/events", "/v1/sow/validate"} <= set(schema["paths"])
    names = set(schema["components"]["schemas"])
    assert {"ProblemDocument", "StatementOfWork", "RunView"} <= names
    references = {part.split('"')[0] for part in json.dumps(schema).split("#/components/schemas/")[1:]}
    assert references <= names
    assert "application/problem+json" in schema["paths"]["/v1/runs"]["get"]["responses"]["4XX"]["content"]


async def test_probes(api: Api) -> None:
    async with api.stranger() as stranger:
        assert (await stranger.get("/livez")).json() == {"status": "alive"}
        assert (await stranger.get("/readyz")).json() == {"status": "ready"}
        await stranger.get("/no/such/page")
        metrics = (await stranger.get("/metrics")).text
    assert 'research_agent_requests_total{method="GET",route="/livez",status="200"}' in metrics
    assert "/no/such/page" not in metrics


async def test_not_ready_without_a_database(api: Api) -> None:
    app = create_app(api.settings)
    async with app.router.lifespan_context(app):
        services = app.state.services
        broken = type(services.db)("postgresql://nobody@127.0.0.1:9/none")
        app.state.services = type(services)(**{**vars(services), "db": broken})
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            problem(await http.get("/readyz"), 503, "unavailable")
            assert (await http.get("/livez")).status_code == 200
        await broken.close()


def test_statuses_are_what_the_contract_says() -> None:
    assert {s.value for s in RunStatus} == {
        "queued", "running", "waiting_for_approval", "succeeded", "failed", "cancelled",
    }  # fmt: skip
