"""The whole survey on a small world: what it finds, how it fails, how it goes on after being killed."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agents.decision import PolicyBrain, Question
from agents.survey.agent import survey
from agents.survey.command import run_survey_command
from agents.survey.dedupe import Pool, make_work
from agents.survey.desk import Desk, Limits, Sources
from agents.survey.meaning import closeness, embedded
from agents.survey.prose import ProseAnswer
from agents.survey.questions import AssessmentAnswer, ClassificationAnswer, ScreeningAnswer
from agents.survey.screening import Screener
from agents.survey.sources.catalogue import CatalogueSource
from agents.survey.sources.connect import connect
from agents.survey.sources.disk_cache import DirectoryCache
from agents.survey.sources.http import Fetcher, RequestBudget
from agents.survey.text import normalize_title
from agents.survey.topic import topic_of
from core.errors import InvalidInputError
from core.types.sow import StatementOfWork
from core.types.work import RepositoryStatus, Survey, Work, WorkIds
from tests.agents.survey.conftest import Connect, settings_for
from tests.fakes.journal import MemoryJournal
from tests.fakes.literature_server import REALISTIC, Faults, LiteratureServer, serve
from tests.fakes.literature_world import World, build_world
from tests.fakes.small_world import TOPIC, write_lists

ROOT = Path(__file__).parents[3]
CATALOGUE = ROOT / "examples" / "smollm-merge" / "catalogue.jsonl"
ALL = ("arxiv", "semantic_scholar", "openalex", "hub", "github")
SOW = StatementOfWork(sow=1, title=TOPIC, kind="command")


def desk(journal: MemoryJournal | None = None, **changes: Any) -> Desk:
    journal = journal or MemoryJournal()
    return Desk(**{"brain": PolicyBrain(journal), "journal": journal, "limits": Limits(round_least=10), **changes})


def truth(world: World) -> set[str]:
    return {normalize_title(w.title) for w in world.works.values() if w.topic == "model_merging"}


def titles(works: Sequence[Work], world: World) -> list[str]:
    """Return the world's titles of found works: services may show others."""
    shown = {normalize_title(w.title_at(s)): w for w in world.works.values() for s in w.held_by}
    return [normalize_title(shown[normalize_title(w.title)].title) for w in works]


@pytest.fixture(scope="module")
def bare_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(write_lists(tmp_path_factory.mktemp("bare")), lists=False, surveys=False)


async def surveyed(server: LiteratureServer, connect_to: Connect, at: Desk, **changes: Any) -> Survey:
    async with connect_to(server, **changes) as fetcher:
        return await survey(SOW, connect(ALL, fetcher), at)


@pytest.fixture(scope="module")
async def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Give the survey of the small world, made once, in the face of faults."""
    return await faulty_survey(world, tmp_path_factory.mktemp("whole"))


async def faulty_survey(world: World, directory: Path) -> Survey:
    with serve(world, REALISTIC) as server:
        async with Fetcher(settings_for(server.url), DirectoryCache(directory), RequestBudget(5000)) as fetcher:
            return await survey(SOW, connect(ALL, fetcher), desk())


async def test_a_survey_finds_the_topic_and_little_else(whole: Survey, world: World) -> None:
    kept = titles(whole.works, world)
    assert len(kept) == len(set(kept))
    assert len(set(kept) & truth(world)) >= 0.9 * len(truth(world))
    assert len(set(kept) & truth(world)) >= 0.8 * len(kept)
    assert all(w.provenance for w in whole.works)
    assert {c for w in whole.works for c in w.categories} >= {"weighted", "subspace", "routing", "post_calibration"}
    assert whole.model_used is None
    assert whole.stop_reason
    assert whole.coverage is not None
    assert "upper bound" in whole.coverage.note


async def test_the_ledger_adds_up(whole: Survey) -> None:
    # Works merged later, when an id shows that two are one, were counted new twice.
    distinct = len(whole.works) + len(whole.borderline) + whole.dropped
    assert 0 <= sum(r.new for r in whole.ledger) - distinct <= 0.05 * distinct
    assert all(r.kept + r.dropped <= r.found for r in whole.ledger)
    assert {r.source for r in whole.ledger} >= set(ALL)


async def test_code_is_linked_and_its_fate_known(whole: Survey, world: World) -> None:
    repositories = {r.url.removeprefix("https://github.com/"): r for w in whole.works for r in w.repositories}
    assert repositories
    for name, repository in repositories.items():
        known = world.repositories.get(name)
        if known is None:
            assert repository.status is RepositoryStatus.MOVED
        else:
            assert repository.status is (RepositoryStatus.GONE if known.gone else RepositoryStatus.EXISTS)


async def test_a_second_run_is_the_same(whole: Survey, world: World, tmp_path: Path) -> None:
    again = await faulty_survey(world, tmp_path)
    assert [w.model_dump() for w in again.works] == [w.model_dump() for w in whole.works]


async def test_without_lists_and_surveys_most_is_still_found(connect_to: Connect, bare_world: World) -> None:
    with serve(bare_world, REALISTIC) as server:
        found = await surveyed(server, connect_to, desk())
    kept = set(titles(found.works, bare_world))
    assert len(kept & truth(bare_world)) >= 0.75 * len(truth(bare_world))


async def test_a_dead_source_is_named_and_the_rest_goes_on(connect_to: Connect, world: World) -> None:
    journal = MemoryJournal()
    with serve(world, Faults(dead=frozenset({"semantic_scholar"}))) as server:
        found = await surveyed(server, connect_to, desk(journal), attempts=2)
    assert any(r.source == "semantic_scholar" and "failed" in r.reason for r in found.ledger)
    assert any(kind == "survey.source_failed" for kind, _, _ in journal.events)
    assert len(set(titles(found.works, world)) & truth(world)) >= 0.6 * len(truth(world))


async def test_a_used_up_budget_ends_the_search_not_the_survey(server: LiteratureServer, connect_to: Connect) -> None:
    async with connect_to(server, limit=12) as fetcher:
        found = await survey(SOW, connect(ALL, fetcher), desk())
    assert found.works
    assert "budget" in found.stop_reason
    assert len(server.log) == 12


class ScriptedBrain:
    """A brain that answers as a model might: sensibly, and with what a hostile paper told it to say."""

    model = "scripted"

    def __init__(self, dropped: str) -> None:
        self.dropped = dropped
        self.asked: list[str] = []

    async def decide[A: BaseModel](self, question: Question[A]) -> A:
        self.asked.append(question.decision)
        answer = question.policy()
        if isinstance(answer, ScreeningAnswer):
            for one in answer.works:
                one.decision = "drop" if self.dropped in question.user else one.decision
        if isinstance(answer, ClassificationAnswer):
            answer.works[0].evidence = "the model says so"
        if isinstance(answer, AssessmentAnswer):
            answer.works[0].pros = ["it is good"]
        assert not question.check(answer)
        return answer


def tutorial() -> tuple[StatementOfWork, Sources]:
    """Give a merge task and the tutorial's catalogue, which needs no network."""
    models = {"base": {"name": "b", "model": "x"}, "experts": [{"name": "e", "model": "y"}]}
    sow = StatementOfWork(sow=1, title="A better small model", models=models)
    return sow, Sources(literature=(CatalogueSource(CATALOGUE),))


async def test_a_models_answers_are_used() -> None:
    brain = ScriptedBrain("nothing of the kind")
    found = await survey(*tutorial(), desk(brain=brain))
    assert found.model_used == "scripted"
    assert any(w.evidence == "the model says so" for w in found.works)
    assert any(w.pros == ("it is good",) for w in found.works)
    assert {d.split()[0] for d in brain.asked} >= {"plan", "classify", "assess", "write"}


async def test_an_invented_work_or_citation_is_refused() -> None:
    refused: list[str] = []

    class Inventive(ScriptedBrain):
        async def decide[A: BaseModel](self, question: Question[A]) -> A:
            lie: Any = question.policy().model_copy(deep=True)
            if isinstance(lie, ClassificationAnswer):
                lie.works[0].key = "arxiv:9999.99999"
                lie.works[-1].categories = ["invented"]
            if isinstance(lie, ProseAnswer):
                lie.paragraphs[0] = "As shown in [arxiv:9999.99999]."
            refused.extend(question.check(lie))
            return question.policy()

    await survey(*tutorial(), desk(brain=Inventive("")))
    assert any("unknown key 'arxiv:9999.99999'" in problem for problem in refused)
    assert any("unknown category 'invented'" in problem for problem in refused)
    assert any("no kept work" in problem for problem in refused)


class Letters:
    """Embeddings by letter counts: crude, real and deterministic."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        rows = []
        for text in texts:
            counts = Counter(c for c in text.lower() if c.isalpha())
            size = sum(n * n for n in counts.values()) ** 0.5 or 1.0
            rows.append([counts[chr(97 + i)] / size for i in range(26)])
        return rows


async def test_embeddings_rank_by_closeness_to_the_core() -> None:
    pool = Pool()
    same = [pool.add(make_work(f"Model merging of adapters {n}", WorkIds()))[0] for n in range(6)]
    like, _ = pool.add(make_work("Adapters merging model of", WorkIds()))
    unlike, _ = pool.add(make_work("Zzz quux jazz", WorkIds()))
    verdicts = Screener(topic_of(SOW)).judge(pool)
    vectors = await embedded(Letters(), tuple(pool))
    signs = closeness(vectors, verdicts)
    assert signs[unlike.key] < 0.05 < signs[like.key] <= 0.5
    assert closeness(vectors, {f.key: verdicts[unlike.key] for f in [*same, like, unlike]}) == {}


async def test_a_catalogue_alone_is_a_survey_with_all_exports(tmp_path: Path) -> None:
    sow, sources = tutorial()
    found = await run_survey_command(sow, tmp_path / "out", sources, desk())
    stated = {r["arxiv_id"]: r.get("category", "survey") for r in map(json.loads, CATALOGUE.read_text().splitlines())}
    assert {w.ids.arxiv: w.categories[0] for w in found.works} == stated
    names = {"survey.md", "survey.html", "survey.bib", "survey.csv", "survey.csl.json", "survey.json", "ledger.csv"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    assert Survey.model_validate_json((tmp_path / "out" / "survey.json").read_text()) == found


async def test_seeds_are_found_by_id_doi_and_title_and_kept(connect_to: Connect, world: World) -> None:
    held = [w for w in world.of_topic("federated_learning") if "semantic_scholar" in w.held_by]
    by_id, by_title = next(w for w in held if w.arxiv), next(w for w in held if not w.arxiv and not w.doi)
    by_doi = next(w for w in held if w.doi)
    seeds = [f"arXiv:{by_id.arxiv}v2", f"https://doi.org/{by_doi.doi}", by_title.title, "A Work That Nobody Wrote"]
    spec = {"seeds": seeds, "sources": ["semantic_scholar"]}
    sow = StatementOfWork(sow=1, title=TOPIC, kind="command", survey=spec)
    with serve(world) as server:
        async with connect_to(server) as fetcher:
            found = await survey(sow, connect(sow.survey.sources, fetcher), desk(limits=Limits(rounds=1)))
    kept = {i for w in found.works for i in (w.ids.arxiv, w.ids.doi, w.ids.s2) if i}
    assert {by_id.arxiv, by_doi.doi, by_title.s2} <= kept
    assert any(r.source == "seeds" and r.query == "A Work That Nobody Wrote" for r in found.ledger)


async def test_an_unknown_source_is_refused(server: LiteratureServer, connect_to: Connect) -> None:
    async with connect_to(server) as fetcher:
        with pytest.raises(InvalidInputError, match="google"):
            connect(("google",), fetcher)
        with pytest.raises(InvalidInputError, match="catalogue"):
            connect(("catalogue",), fetcher)
