"""Pages: they show what the API gives, hold hostile text as text, and act by their forms."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest

from core.types.run import RunStatus
from tests.app.conftest import TOKEN, Api
from tests.app.sample import HOSTILE, Sampled

PATHS = ("", "/live", "/survey", "/transcripts", "/candidates/ties")


class Page(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
async def browser(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with api.stranger(headers={"Accept": "text/html"}) as client:
        await client.get("/runs", params={"token": TOKEN})
        yield client


def form_token(text: str) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', text)
    assert found is not None
    return found.group(1)


async def test_no_page_has_script_or_style_of_its_own(browser: httpx.AsyncClient, sampled: Sampled) -> None:
    pages = ["/runs", "/runs/new", *(f"/runs/{sampled.run.id}{path}" for path in PATHS)]
    for path in pages:
        response = await browser.get(path)
        assert response.status_code == 200, path
        for tag, attributes in Page(response.text).tags:
            assert tag not in {"style", "iframe", "object", "embed", "base"}, path
            assert tag != "script" or (attributes["src"] or "").startswith("/static/"), path
            assert tag != "img", path
            assert not [a for a in attributes if a.startswith("on") or a == "style"], (path, tag, attributes)
            for name in ("href", "src", "action"):
                assert not (attributes.get(name) or "").lower().startswith(("javascript:", "data:")), path


@pytest.mark.parametrize("path", PATHS)
async def test_hostile_text_is_shown_as_text(browser: httpx.AsyncClient, sampled: Sampled, path: str) -> None:
    text = (await browser.get(f"/runs/{sampled.run.id}{path}")).text
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)" in text


async def test_a_run_shows_where_it_is(browser: httpx.AsyncClient, sampled: Sampled) -> None:
    text = (await browser.get(f"/runs/{sampled.run.id}")).text
    assert re.search(r'<li class="now" aria-current="step">\s*<span class="name">optimize', text)
    assert text.count('<li class="done"') == 3
    assert "77.5" in text
    assert "7 / 20" in text
    assert text.count('class="new-group"') == 2
    assert "Why no more</th>" in text
    assert "stopped after 1 of 2 seeds" in text
    assert "/static/live.js" in text


async def test_an_ended_run_is_not_watched(browser: httpx.AsyncClient, sampled: Sampled) -> None:
    await sampled.runs.finish(sampled.run.id, RunStatus.FAILED, "The reason.")
    text = (await browser.get(f"/runs/{sampled.run.id}")).text
    assert "live.js" not in text
    assert "The reason." in text
    assert "Resume" in text


async def test_forms_act(browser: httpx.AsyncClient, sampled: Sampled) -> None:
    address = f"/runs/{sampled.run.id}"
    await sampled.runs.wait_at(sampled.run.id, "before_publishing")
    token = form_token((await browser.get(address)).text)
    decided = await browser.post(f"{address}/decision", data={"form_token": token, "approve": "yes", "note": "good"})
    assert (decided.status_code, decided.headers["location"]) == (303, address)
    assert await sampled.runs.take_decision(sampled.run.id) == {"approve": True, "note": "good"}
    assert (await browser.post(f"{address}/cancel", data={"form_token": token})).status_code == 303
    assert (await sampled.runs.get(sampled.run.id)).status is RunStatus.CANCELLED
    again = await browser.post(f"{address}/cancel", data={"form_token": token})
    assert again.status_code == 409
    assert "The run is cancelled" in again.text
    assert (await browser.post(f"{address}/resume", data={"form_token": token})).status_code == 303
    assert (await sampled.runs.get(sampled.run.id)).status is RunStatus.QUEUED


async def test_a_new_run_is_checked_then_started(browser: httpx.AsyncClient, api: Api) -> None:
    page = (await browser.get("/runs/new")).text
    token = form_token(page)
    wrong = await browser.post("/runs/new", data={"form_token": token, "sow": "sow: 1\ntitel: <b>", "action": "start"})
    assert wrong.status_code == 422
    assert "<code>titel</code>" in wrong.text
    assert "sow: 1\ntitel: &lt;b&gt;" in wrong.text
    good = "sow: 1\r\ntitle: From the page\r\nkind: command\r\nevaluation: {command: [x]}\r\n"
    checked = await browser.post("/runs/new", data={"form_token": token, "sow": good, "action": "check"})
    assert "Valid." in checked.text
    assert (await api.http.get("/v1/runs")).json()["items"] == []
    started = await browser.post("/runs/new", data={"form_token": token, "sow": good, "action": "start"})
    assert started.status_code == 303
    assert "From the page" in (await browser.get(started.headers["location"])).text


async def test_empty_states(browser: httpx.AsyncClient, api: Api) -> None:
    assert "No run yet" in (await browser.get("/runs")).text
    sow = b"sow: 1\ntitle: fresh\nkind: command\nevaluation: {command: [x]}\n"
    run = await api.http.post("/v1/runs", content=sow, headers={"Content-Type": "text/yaml"})
    address = run.json()["links"]["ui"]
    assert "Nothing is measured yet" in (await browser.get(address)).text
    assert "not finished" in (await browser.get(f"{address}/survey")).text
    assert "No decision yet" in (await browser.get(f"{address}/transcripts")).text
    assert (await browser.get(f"{address}/candidates/none")).status_code == 404
    assert (await browser.get("/")).headers["location"] == "/runs"


async def test_static_files_are_served(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/runs")).text
    for address in re.findall(r'"(/static/[^"]+)"', page):
        assert (await browser.get(address)).status_code == 200
