"""Repositories: exist, moved or gone, as GitHub answers; lists; paper pages."""

from agents.survey.sources.github import GitHubSource
from agents.survey.sources.hub import HubSource
from agents.survey.text import arxiv_id
from core.types.work import Repository, RepositoryStatus, Work, WorkIds
from tests.agents.survey.conftest import Connect
from tests.fakes.literature_server import LiteratureServer, serve
from tests.fakes.literature_world import World, WorldRepository


async def test_the_fate_of_a_repository_is_found_out(connect_to: Connect) -> None:
    world = World({}, {
        "a/here": WorldRepository("a/here", "x", licence="MIT", stars=7, archived=True,
                                  pushed_at="2024-05-06T00:00:00Z"),
        "a/old": WorldRepository("a/old", "x", moved_to="b/new"),
        "a/lost": WorldRepository("a/lost", "x", gone=True),
        "a/nolicence": WorldRepository("a/nolicence", "x", licence="NOASSERTION"),
    })  # fmt: skip
    with serve(world) as server:
        async with connect_to(server) as fetcher:
            github = GitHubSource(fetcher)
            seen = {
                name: await github.verify(Repository(url=f"https://github.com/a/{name}", official=True))
                for name in ("here", "old", "lost", "nolicence", "neverwas")
            }
    here = seen["here"]
    assert (here.status, here.licence, here.stars) == (RepositoryStatus.EXISTS, "MIT", 7)
    assert (here.archived, here.last_commit, here.official) == (True, "2024-05-06", True)
    assert (seen["old"].status, seen["old"].url) == (RepositoryStatus.MOVED, "https://github.com/b/new")
    assert seen["lost"].status is RepositoryStatus.GONE
    assert seen["neverwas"].status is RepositoryStatus.GONE
    assert seen["nolicence"].licence is None


async def test_other_hosts_are_left_unchecked(server: LiteratureServer, connect_to: Connect) -> None:
    elsewhere = Repository(url="https://gitlab.com/a/b")
    async with connect_to(server) as fetcher:
        assert await GitHubSource(fetcher).verify(elsewhere) == elsewhere
    assert not server.log


async def test_lists_and_readmes(server: LiteratureServer, connect_to: Connect) -> None:
    async with connect_to(server) as fetcher:
        github = GitHubSource(fetcher, "token")
        names = [c.full_name for c in await github.lists("model merging")]
        readme = await github.readme("reading-circle/Awesome-Model-Merging")
        assert await github.readme("nobody/nothing") == ""
    assert names == ["reading-circle/Awesome-Model-Merging"]
    assert "Routing-based Merging Methods" in readme
    assert {r.headers["authorization"] for r in server.log} == {"Bearer token"}


async def test_paper_pages_name_code_and_models(server: LiteratureServer, connect_to: Connect, world: World) -> None:
    held = [w for w in world.works.values() if "hub" in w.held_by and w.repository]
    async with connect_to(server) as fetcher:
        hub = HubSource(fetcher)
        named = {w.arxiv: await hub.repositories_of(Work(key="k", title="t", ids=WorkIds(arxiv=w.arxiv))) for w in held}
        models = await hub.models_of(Work(key="k", title="t", ids=WorkIds(arxiv=held[0].arxiv)))
    found = {w.arxiv: named[w.arxiv][0].url for w in held if named[w.arxiv]}
    assert found
    assert found.items() <= {w.arxiv: f"https://github.com/{w.repository}" for w in held}.items()
    assert all("/" in m for m in models)
    assert arxiv_id(held[0].arxiv) == held[0].arxiv
