"""The token, sessions of browsers, and the headers that bind them."""

from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from app.api import events, files, probes, records, runs
from app.token import api_token, derived, known_token, same
from app.ui import pages
from core.settings import Settings
from tests.app.conftest import TOKEN, Api
from tests.app.sample import Sampled

PAGE = {"Accept": "text/html"}


async def test_every_route_but_the_probes_asks_for_the_token(api: Api) -> None:
    asked = 0
    async with api.stranger() as stranger:
        for module in (runs, events, files, records, pages):
            for route in module.router.routes:
                assert isinstance(route, APIRoute)
                path = route.path.replace("{", "").replace("}", "").replace(":path", "")
                for method in route.methods or ():
                    response = await stranger.request(method, path)
                    assert response.status_code == 401, (method, path)
                    assert response.headers["www-authenticate"].startswith("Bearer")
                    assert response.json()["code"] == "unauthorized"
                    asked += 1
        for route in probes.router.routes:
            assert isinstance(route, APIRoute)
            assert (await stranger.get(route.path)).status_code == 200
    assert asked > 30


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Basic " + TOKEN, TOKEN, "Bearer " + TOKEN + "x", "Bearer \xe9"]
)
async def test_wrong_tokens(api: Api, header: str) -> None:
    async with api.stranger() as stranger:
        response = await stranger.get("/v1/runs", headers={b"Authorization": header.encode("latin-1")})
    assert response.status_code == 401


async def test_a_link_with_the_token_gives_a_session_and_a_clean_address(api: Api) -> None:
    async with api.stranger() as browser:
        response = await browser.get("/runs", params={"status": "running", "token": TOKEN})
        assert response.status_code == 303
        assert response.headers["location"] == "/runs?status=running"
        cookie = response.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        assert (await browser.get("/runs")).status_code == 200
        assert (await browser.get("/v1/runs")).status_code == 200
        assert (await browser.get("//evil.example/", params={"token": TOKEN})).headers.get("location", "/")[:2] != "//"


async def test_tokens_in_addresses_of_the_api_are_not_taken(api: Api) -> None:
    async with api.stranger() as stranger:
        assert (await stranger.get("/v1/runs", params={"token": TOKEN})).status_code == 401
        assert (await stranger.get("/runs", params={"token": "wrong"})).status_code == 401


async def test_a_session_alone_changes_nothing(api: Api, sampled: Sampled) -> None:
    async with api.stranger() as browser:
        await browser.get("/runs", params={"token": TOKEN})
        assert (await browser.post(f"/v1/runs/{sampled.run.id}/cancel")).status_code == 401
        forged = await browser.post(f"/runs/{sampled.run.id}/cancel", data={"form_token": "guess"})
        assert (forged.status_code, forged.json()["code"]) == (403, "forbidden")
        assert (await browser.post(f"/runs/{sampled.run.id}/cancel")).status_code == 403
    assert not (await sampled.runs.get(sampled.run.id)).status.terminal


async def test_browsers_get_pages_for_errors(api: Api) -> None:
    async with api.stranger(headers=PAGE) as browser:
        refused = await browser.get("/runs")
        assert (refused.status_code, refused.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert "link that `up` printed" in refused.text
        await browser.get("/runs", params={"token": TOKEN})
        assert "There is no run" in (await browser.get("/runs/run-none")).text
        assert (await browser.get("/nothing")).headers["content-type"].startswith("text/html")
        assert (await browser.get("/v1/nothing")).headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/runs", "/v1/runs", "/livez", "/v1/none", "/static/live.js"])
async def test_every_response_binds_browsers(api: Api, path: str) -> None:
    headers = (await api.http.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_the_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", token=None)
    assert known_token(settings) is None
    made = api_token(settings)
    assert len(made) >= 32
    assert api_token(settings) == made == known_token(settings)
    kept = settings.state_dir / "token"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in settings.state_dir.iterdir()] == ["token"]
    assert api_token(Settings(state_dir=tmp_path, token="set")) == "set"


def test_derived_secrets_differ_by_purpose() -> None:
    assert not same(derived("t", "session"), derived("t", "form"))
    assert same(derived("t", "form"), derived("t", "form"))


async def test_a_session_is_not_a_form_token(api: Api, sampled: Sampled) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as browser:
        await browser.get("/runs", params={"token": TOKEN})
        session = browser.cookies["research_agent"]
        response = await browser.post(f"/runs/{sampled.run.id}/cancel", data={"form_token": session})
    assert response.status_code == 403
