"""The API while its database is away: a 503 that says to ask again, and answers once it is back."""

from pathlib import Path

import httpx

from app.api.application import create_app
from app.migrate import migrate
from core.embedded_postgres import EmbeddedPostgres
from core.settings import Settings


async def test_a_database_that_went_away_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        await migrate(server.url)
        app = create_app(Settings(state_dir=tmp_path, database_url=server.url, token="a-token"))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://api", headers={"Authorization": "Bearer a-token"}
            ) as http,
        ):
            assert (await http.get("/v1/runs")).json() == {"items": [], "next": None}
            server.stop()
            away = await http.get("/v1/runs")
            assert (away.status_code, away.json()["code"], away.headers["retry-after"]) == (503, "database_away", "2")
            assert (await http.get("/livez")).is_success
            server.start()
            assert (await http.get("/v1/runs")).is_success
