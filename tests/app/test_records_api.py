"""Transcripts, survey, candidates, leaderboards and files over REST."""

import hashlib

import pytest
from pydantic import BaseModel

from core.db import Database
from core.records import RunRecords
from core.types.evaluation import Score
from core.types.reproduction import ReproductionRow
from tests.app.conftest import Api
from tests.app.sample import HOSTILE, Sampled


async def test_transcripts_short_and_in_full(api: Api, sampled: Sampled) -> None:
    base = f"/v1/runs/{sampled.run.id}/transcripts"
    page = (await api.http.get(base)).json()
    (row,) = page["items"]
    assert (row["agent"], row["decider"], row["messages"]) == ("survey", "repaired", 3)
    one = (await api.http.get(f"{base}/{row['id']}")).json()
    assert one["messages"][2]["reasoning"] == "It averages weights."
    assert HOSTILE in one["messages"][1]["content"]
    assert (await api.http.get(f"{base}/full")).json()["items"] == [one]
    assert (await api.http.get(base, params={"after": page["next"]})).json()["items"] == []
    for bad, status in ((f"{base}/999999", 404), (f"{base}/0", 422), (f"{base}/x", 422)):
        assert (await api.http.get(bad)).status_code == status


async def test_another_runs_transcript_is_not_found(api: Api, sampled: Sampled) -> None:
    other, _ = await sampled.runs.create(sampled.run.sow)
    number = (await api.http.get(f"/v1/runs/{sampled.run.id}/transcripts")).json()["items"][0]["id"]
    assert (await api.http.get(f"/v1/runs/{other.id}/transcripts/{number}")).status_code == 404


async def test_the_survey_and_its_exports(api: Api, sampled: Sampled) -> None:
    base = f"/v1/runs/{sampled.run.id}"
    survey = (await api.http.get(f"{base}/survey")).json()
    assert survey["works"][0]["title"] == "TIES-Merging"
    assert survey["ledger"][0]["dropped"] == 3
    assert (await api.http.get(f"{base}/survey.bib")).text == "bib"
    assert (await api.http.get(f"{base}/survey.md")).headers["content-type"].startswith("text/markdown")
    page = await api.http.get(f"{base}/survey.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert (await api.http.get(f"{base}/survey.csl.json")).json() == []
    assert (await api.http.get(f"{base}/survey.json")).status_code == 404
    assert (await api.http.get(f"{base}/survey.exe")).status_code == 422
    assert (await api.http.get(f"{base}/applicability")).json()["rows"][0]["method"] == "ties"


async def test_candidates_with_scores_and_every_item(api: Api, sampled: Sampled) -> None:
    base = f"/v1/runs/{sampled.run.id}/candidates"
    rows = (await api.http.get(base)).json()["items"]
    assert {r["candidate"]["id"] for r in rows} == {"ties", "linear", "dare", "slerp", "base"}
    ties = next(r for r in rows if r["candidate"]["id"] == "ties")
    assert ties["evaluations"][0]["score"]["value"] == 31 / 40
    assert "outcomes" not in ties["evaluations"][0]
    assert "merge_method: ties" in ties["recipe_yaml"]
    detail = (await api.http.get(f"{base}/ties")).json()
    (evaluation,) = detail["evaluations"]
    assert len(evaluation["outcomes"]) == 40
    assert evaluation["outcomes"][39]["samples"][0]["verdict"] == "unparsable"
    assert detail["jobs"][0]["status"] == "succeeded"
    assert (await api.http.get(f"{base}/none")).status_code == 404
    assert (await api.http.get("/v1/runs/run-none/candidates")).status_code == 404


async def test_leaderboards(api: Api, sampled: Sampled) -> None:
    address = f"/v1/runs/{sampled.run.id}/leaderboard"
    board = (await api.http.get(address)).json()
    assert board["role"] == "screen"
    assert [r["candidate"]["id"] for r in board["rows"]] == ["ties", "linear", "dare", "slerp", "base"]
    assert [r["seeds"] for r in board["rows"]] == [2, 2, 2, 1, 1]
    assert board["rows"][3]["seeds_note"].startswith("stopped after 1 of 2 seeds")
    assert (await api.http.get(address, params={"role": "screen"})).json() == board
    assert (await api.http.get(address, params={"role": "confirm"})).status_code == 404
    assert (await api.http.get(address, params={"role": "odd"})).status_code == 422
    fresh, _ = await sampled.runs.create(sampled.run.sow)
    assert "no leaderboard yet" in (await api.http.get(f"/v1/runs/{fresh.id}/leaderboard")).json()["detail"]


async def test_documents_of_the_search(api: Api, sampled: Sampled, db: Database) -> None:
    class History(BaseModel):
        trials: list[int]

    base = f"/v1/runs/{sampled.run.id}"
    assert (await api.http.get(f"{base}/optimization")).status_code == 404
    await RunRecords(db).put(sampled.run.id, "optimization", History(trials=[1, 2]))
    assert (await api.http.get(f"{base}/optimization")).json() == {"trials": [1, 2]}
    assert (await api.http.get(f"{base}/models")).status_code == 404


async def test_files_with_checksums(api: Api, sampled: Sampled) -> None:
    base = f"/v1/runs/{sampled.run.id}"
    rows = (await api.http.get(f"{base}/artifacts")).json()["items"]
    assert {"report.html", "report.md", "survey/survey.bib", "weights.bin"} <= {r["name"] for r in rows}
    for row in rows:
        response = await api.http.get(row["href"])
        assert hashlib.sha256(response.content).hexdigest() == row["sha256"]
        assert response.headers["etag"] == f'"{row["sha256"]}"'
        again = await api.http.get(row["href"], headers={"If-None-Match": f'"{row["sha256"]}"'})
        assert (again.status_code, again.content) == (304, b"")
    part = await api.http.get(f"{base}/artifacts/weights.bin", headers={"Range": "bytes=1-1"})
    assert (part.status_code, part.content) == (206, b"\x01")


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2e%2e%2fx", "none", "report.html/x"])
async def test_files_are_names_and_not_paths(api: Api, sampled: Sampled, name: str) -> None:
    assert (await api.http.get(f"/v1/runs/{sampled.run.id}/artifacts/{name}")).status_code == 404


async def test_a_report_can_not_run_scripts(api: Api, sampled: Sampled) -> None:
    base = f"/v1/runs/{sampled.run.id}"
    response = await api.http.get(f"{base}/report")
    policy = response.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert (await api.http.get(f"{base}/report", headers={"Accept": "text/markdown"})).text == "# Report\n"
    assert (await api.http.get(f"{base}/report.md")).text == "# Report\n"
    odd = await api.http.get(f"{base}/artifacts/weights.bin")
    assert odd.headers["content-type"] == "application/octet-stream"
    assert odd.headers["content-disposition"].startswith("attachment")


async def test_reproductions_with_their_steps(api: Api, db: Database, sampled: Sampled) -> None:
    base = f"/v1/runs/{sampled.run.id}"
    row = ReproductionRow(
        work_key="w", work_title=f"A work {HOSTILE}", sandbox="box-1", candidate_id="repro-1", verdict="ranked",
        reason="A method was handed in.", repository="https://github.com/lab/code", revision="0123456789abcdef",
        claims=(f"We gain 4.2 points {HOSTILE}",), notes=HOSTILE, submission="method", events=2, transcripts=(1,),
        score=Score(metric="pass@1", value=0.5, items=40),
    )  # fmt: skip
    await RunRecords(db).put(sampled.run.id, "reproduction.repro-1", row)
    for sandbox, command in (("box-1", "ls"), ("box-2", "cat"), ("box-1", HOSTILE)):
        await sampled.journal.event(
            "sandbox.ActionEvent", f"terminal: {command}", sandbox=sandbox, event={"command": command}
        )
    (listed,) = (await api.http.get(f"{base}/reproductions")).json()["rows"]
    assert (listed["verdict"], listed["score"]["value"]) == ("ranked", 0.5)
    detail = (await api.http.get(f"{base}/reproductions/repro-1")).json()
    assert [s["data"]["event"]["command"] for s in detail["steps"]] == ["ls", HOSTILE]
    later = (await api.http.get(f"{base}/reproductions/repro-1", params={"after": detail["next"]})).json()
    assert later["steps"] == []
    assert (await api.http.get(f"{base}/reproductions/none")).status_code == 404
    assert (await api.http.get("/v1/runs/run-none/reproductions")).status_code == 404
    for page in ("reproductions", "reproductions/repro-1"):
        shown = await api.http.get(f"/runs/{sampled.run.id}/{page}")
        assert shown.status_code == 200
        assert "We gain 4.2 points" in shown.text
        assert HOSTILE not in shown.text
