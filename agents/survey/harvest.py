"""Surveys first: what curated lists name and what surveys of the topic cite, taken as candidates with their headings.

A list entry is only a pointer: it becomes a candidate when a scholarly source returns the work by its id or its title.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from agents.survey.dedupe import Found
from agents.survey.desk import Sources
from agents.survey.gather import Gatherer, Inquiry
from agents.survey.ledger import Asked
from agents.survey.lists import CuratedList, is_topical, read_list
from agents.survey.sources.ports import ListCandidate, ListedWork, Resolver
from agents.survey.text import arxiv_id, doi, normalize_title
from agents.survey.topic import Topic
from core.types.work import Repository, Work, WorkIds

LISTS = "lists"
SEEDS = "seeds"
ID_BATCH = 50


async def harvest_lists(gatherer: Gatherer, sources: Sources, topic: Topic) -> tuple[CuratedList, ...]:
    """Find curated lists of the topic and pool the works they name; return the lists."""
    found = await _find_lists(gatherer, sources, topic)
    for curated in found:
        await _resolve(gatherer, sources.resolvers, curated.entries, LISTS)
        _mark(gatherer, curated)
    return found


async def find_seeds(gatherer: Gatherer, sources: Sources, topic: Topic) -> list[Found]:
    """Pool the works that the user named by arXiv id, DOI or title, as declared to be in scope."""
    entries = [ListedWork(title=seed, arxiv=arxiv_id(seed), doi=doi(seed)) for seed in topic.seeds]
    await _resolve(gatherer, sources.resolvers, entries, SEEDS)
    found = []
    for entry in entries:
        record = gatherer.bench.pool.find(_sketch(entry))
        if record is None:
            gatherer.bench.ledger.noted(Asked(SEEDS, entry.title), "found at no scholarly source")
            continue
        record.declared = True
        record.occasions.add(SEEDS)
        found.append(record)
    return found


async def _find_lists(gatherer: Gatherer, sources: Sources, topic: Topic) -> tuple[CuratedList, ...]:
    host = sources.lists
    if host is None:
        return ()
    candidates: dict[str, ListCandidate] = {}
    for label in topic.labels:
        answer = await gatherer.guard(Asked(host.name, f"lists:{label}"), partial(host.lists, label))
        candidates |= {c.full_name: c for c in answer or () if is_topical(c, topic)}
    lists = []
    for name in candidates:
        asked = Asked(host.name, f"readme:{name}")
        readme = await gatherer.guard(asked, partial(host.readme, name))
        curated = read_list(name, readme) if readme else None
        if curated is not None:
            lists.append(curated)
        gatherer.bench.ledger.noted(
            asked, f"a list of {len(curated.entries)} works" if curated else "not a list of works"
        )
        if len(lists) >= gatherer.desk.limits.lists:
            break
    return tuple(lists)


async def _resolve(
    gatherer: Gatherer, resolvers: Sequence[Resolver], entries: Sequence[ListedWork], occasion: str
) -> None:
    """Ask scholarly sources for works: by arXiv id or DOI in batches, what has neither by title, until one has them."""
    for resolver in resolvers:
        missing = _missing(gatherer, entries)
        ids = [i for i in (e.arxiv or e.doi for e in missing) if i]
        batches = [ids[i : i + ID_BATCH] for i in range(0, len(ids), ID_BATCH)]
        titles = [e.title for e in missing if not e.arxiv and not e.doi]
        await gatherer.ask_all(
            [
                Inquiry(Asked(resolver.name, f"ids:{len(b)} from {b[0]}"), partial(resolver.by_ids, b), occasion)
                for b in batches
            ]
            + [Inquiry(Asked(resolver.name, f"title:{t}"), partial(resolver.by_title, t), occasion) for t in titles]
        )
    for resolver in resolvers:
        # Publishers' ids are not known everywhere; titles are.
        titles = [e.title for e in _missing(gatherer, entries) if e.doi and not e.arxiv]
        await gatherer.ask_all(
            [Inquiry(Asked(resolver.name, f"title:{t}"), partial(resolver.by_title, t), occasion) for t in titles]
        )


def _missing(gatherer: Gatherer, entries: Sequence[ListedWork]) -> list[ListedWork]:
    """Return the entries that the pool does not hold, each once."""
    pointers = {_pointer(e): e for e in entries}
    return [e for e in pointers.values() if gatherer.bench.pool.find(_sketch(e)) is None]


def _mark(gatherer: Gatherer, curated: CuratedList) -> None:
    """Note on each pooled work that the list names it, under which headings and with which code."""
    unresolved = set()
    for entry in curated.entries:
        record = gatherer.bench.pool.find(_sketch(entry))
        if record is None:
            unresolved.add(entry.title)
            continue
        record.list_under(curated.full_name, (entry.headings,))
        record.occasions.add(LISTS)
        known = {r.url.lower() for r in record.work.repositories}
        code = tuple(Repository(url=url) for url in entry.code if url.lower() not in known)
        if code:
            record.work = record.work.model_copy(update={"repositories": (*record.work.repositories, *code)})
    if unresolved:
        reason = f"{len(unresolved)} entries were found at no scholarly source and are left out"
        gatherer.bench.ledger.noted(Asked(LISTS, curated.full_name), reason)


def topical_surveys(found: Iterable[Found], topic: Topic, tokens: Callable[[Work], list[str]]) -> list[Found]:
    """Return the surveys whose title names the topic."""
    return [f for f in found if f.work.is_survey and topic.directness(tokens(f.work)) > 0]


def _pointer(entry: ListedWork) -> str:
    return entry.arxiv or entry.doi or normalize_title(entry.title)


def _sketch(entry: ListedWork) -> Work:
    """Return a work with an entry's ids and title, to look for in the pool; it never enters the pool."""
    return Work(key=_pointer(entry), title=entry.title, ids=WorkIds(arxiv=entry.arxiv, doi=entry.doi))
