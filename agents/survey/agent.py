"""The survey procedure (design: survey.md): search, lists and surveys, snowballing, screening, classes, code, coverage.

Every work kept was returned by a source; a model only decides among those. What is asked goes through the sources'
caches, so a run that is started again repeats no question that was answered.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.survey.classification import Classifier
from agents.survey.code_links import link_code
from agents.survey.coverage import estimate, hidden_list_recall
from agents.survey.dedupe import Found
from agents.survey.desk import Desk, Sources, Workbench
from agents.survey.drafting import draft, has_categories
from agents.survey.gather import CATALOGUE, Gatherer
from agents.survey.harvest import find_seeds, harvest_lists, topical_surveys
from agents.survey.judgement import assess_all, classify, screen
from agents.survey.ledger import Asked
from agents.survey.likeness import Likeness, likeness_of
from agents.survey.meaning import Vectors, closeness, embedded
from agents.survey.merging_taxonomy import MERGING, applies_to_merging
from agents.survey.prose import write_prose
from agents.survey.queries import as_context, grown, plan_question
from agents.survey.screening import KEEP, Screener, Verdict, by_score
from agents.survey.snowball import Snowball
from agents.survey.taxonomy import OTHER, SURVEY, Taxonomy, extend
from agents.survey.topic import Topic, topic_of
from core.errors import JobFailedError, OperatorError
from core.types.run import Stage
from core.types.sow import StatementOfWork
from core.types.work import Coverage, Screening, Survey, Work

CITED_BY_SURVEYS = "surveys"
_SHOWN_TITLES = 60
_WORTH = 0.1
_UNCERTAIN = 0.1


async def survey(sow: StatementOfWork, sources: Sources, desk: Desk) -> Survey:
    """Find, screen, classify and count the works on a SoW's topic."""
    base = base_taxonomy(sow)
    procedure = Procedure(sow, sources, desk, topic_of(sow, base.terms if base else ()), base)
    await desk.journal.event("survey.started", f"Surveying: {', '.join(procedure.topic.labels)}", stage=Stage.SURVEY)
    await procedure.gather()
    return await procedure.conclude()


def base_taxonomy(sow: StatementOfWork) -> Taxonomy | None:
    """Return the built-in taxonomy of a SoW's topic, if there is one."""
    merging = (sow.kind == "merge" and sow.models is not None) or applies_to_merging((sow.title, *sow.survey.include))
    return MERGING if merging else None


@dataclass
class Procedure:
    """One survey under way."""

    sow: StatementOfWork
    sources: Sources
    desk: Desk
    topic: Topic
    base: Taxonomy | None
    bench: Workbench = field(default_factory=Workbench)

    def __post_init__(self) -> None:
        self.screener = Screener(self.topic)
        self.gatherer = Gatherer(self.bench, self.desk)
        self.snowball = Snowball(self.gatherer, self.sources.citations)

    async def gather(self) -> None:
        """Search, harvest lists and surveys, grow queries, snowball."""
        seeds = await find_seeds(self.gatherer, self.sources, self.topic)
        await self._search(await self._plan(self.topic.labels))
        await harvest_lists(self.gatherer, self.sources, self.topic)
        surveys = topical_surveys(self.bench.pool, self.topic, lambda w: self.screener.tokens_of(w)[0])
        await self.snowball.expand([f for f in seeds if not f.work.is_survey])
        await self.snowball.expand(surveys, CITED_BY_SURVEYS)
        inside, outside = self._titles()
        await self._search(await self._plan(grown(self.topic, inside, outside, self.desk.limits.grown_queries)))
        reason = await self.snowball.roll(self._judge)
        self.bench.stop_reason = self.bench.stop_reason or reason
        await self._fill_thin_categories()

    async def _fill_thin_categories(self) -> None:
        """Search by name for more works of the categories that hold fewer than the SoW wants."""
        target = self.sow.survey.target_per_category
        if target is None:
            return
        kept = self._judge()[0]
        likeness = likeness_of(kept, {})
        taxonomy = self._taxonomy(kept, likeness)
        classifier = Classifier(taxonomy, kept, likeness)
        counts = Counter(label.category for found in kept for label in classifier.labels(found))
        thin = [c for c in taxonomy.categories if c.key not in {SURVEY, OTHER} and counts[c.key] < target]
        for category in thin:
            asked = Asked("target", category.key)
            self.bench.ledger.noted(asked, f"{counts[category.key]} works, fewer than the {target} wanted")
        await self._search([f"{c.title} {self.topic.labels[0]}" for c in thin][: self.desk.limits.grown_queries])

    async def conclude(self) -> Survey:
        """Screen, classify, link code, estimate coverage and assess."""
        pool, topic = self.bench.pool, self.topic
        vectors = await self._meaning()
        self.screener.closeness = closeness(vectors, self.screener.judge(pool))
        verdicts = await screen(self.desk, topic, pool, self.screener.judge(pool))
        kept = by_score(pool, verdicts, lambda v: v.screening is Screening.KEPT)
        borderline = by_score(pool, verdicts, lambda v: v.screening is Screening.BORDERLINE)
        likeness = likeness_of(kept, vectors)
        taxonomy = self._taxonomy(kept, likeness)
        labels = await classify(self.desk, taxonomy, kept, likeness)
        await link_code(self.gatherer, self.sources, kept)
        works = [
            found.work.evolve(
                relevance=verdicts[found.key].score,
                categories=tuple(labels[found.key].categories),
                evidence=labels[found.key].evidence,
            )
            for found in kept
        ]
        used = {c for w in works for c in w.categories}
        concluded = Survey(
            works=tuple(await assess_all(self.desk, works, self.sow.language)),
            borderline=tuple(_scored(f.work, verdicts[f.key]) for f in borderline),
            dropped=len(pool) - len(kept) - len(borderline),
            taxonomy={key: text for key, text in taxonomy.described().items() if key in used},
            ledger=self.bench.ledger.rows({key: v.screening for key, v in verdicts.items()}),
            coverage=self._coverage(kept, verdicts),
            stop_reason=self.bench.stop_reason,
            model_used=self.desk.brain.model,
        )
        return concluded.model_copy(update={"prose": await write_prose(self.desk.brain, concluded, self.sow.language)})

    async def _meaning(self) -> Vectors:
        """Return the works' embeddings, or nothing where none can be had: a survey goes on without them."""
        if self.desk.texts is None:
            return {}
        try:
            return await embedded(self.desk.texts, tuple(self.bench.pool))
        except (JobFailedError, OperatorError) as error:
            self.bench.ledger.noted(Asked("embeddings", f"{len(self.bench.pool)} works"), f"failed: {error.message}")
            await self.desk.journal.event(
                "survey.embeddings_failed", f"Going on without embeddings: {error.message}", stage=Stage.SURVEY
            )
            return {}

    async def _plan(self, policy: Sequence[str]) -> list[str]:
        titles = self._titles()[0][:_SHOWN_TITLES]
        asks = " ".join(self.sow.survey.questions)
        context = as_context(f"{self.sow.title}. {self.sow.task} {asks}", titles)
        asked = () if policy == self.topic.labels else self.topic.labels
        plan = await self.desk.brain.decide(plan_question(self.topic, context, asked, policy))
        queries = [*policy, *plan.queries] if not asked else [q for q in plan.queries if q not in asked]
        return list(dict.fromkeys(queries))

    async def _search(self, queries: Sequence[str]) -> None:
        first = [s for s in self.sources.literature if s.name == CATALOGUE and not len(self.bench.pool)]
        others = [s for s in self.sources.literature if s.name != CATALOGUE]
        await self.gatherer.search_all([*first, *others], queries, self._worth_more)

    def _worth_more(self, records: Sequence[Found]) -> bool:
        """Tell whether enough of a page is in scope for the next page to be asked for."""
        hits = sum(self.screener.promises(f.work) for f in records)
        return hits >= _WORTH * len(records)

    def _judge(self) -> tuple[Sequence[Found], Sequence[Found]]:
        verdicts = self.screener.judge(self.bench.pool)
        kept = by_score(self.bench.pool, verdicts, lambda v: v.screening is Screening.KEPT)
        return kept, by_score(self.bench.pool, verdicts, lambda v: _UNCERTAIN <= v.score < KEEP)

    def _titles(self) -> tuple[list[str], list[str]]:
        verdicts = self.screener.judge(self.bench.pool)
        inside = by_score(self.bench.pool, verdicts, lambda v: v.screening is Screening.KEPT)
        outside = by_score(self.bench.pool, verdicts, lambda v: v.screening is not Screening.KEPT)
        return [f.work.title for f in inside], [f.work.title for f in outside]

    def _taxonomy(self, kept: Sequence[Found], likeness: Likeness) -> Taxonomy:
        paths = [path for found in kept for paths in found.headings.values() for path in paths]
        named = [(category,) for found in kept for category in found.work.categories]
        topic = frozenset(s for phrase in self.topic.phrases for s in phrase)
        taxonomy = extend(self.base, [*paths, *named], topic)
        return taxonomy if has_categories(taxonomy) else draft(taxonomy, [f.work.title for f in kept], likeness, topic)

    def _coverage(self, kept: Sequence[Found], verdicts: Mapping[str, Verdict]) -> Coverage:
        inside = [v.score for v in verdicts.values() if v.screening is Screening.KEPT]
        outside = [v.score for v in verdicts.values() if v.screening is not Screening.KEPT]
        surveys = topical_surveys(kept, self.topic, lambda w: self.screener.tokens_of(w)[0])
        return estimate([f.occasions for f in kept], inside, outside, hidden_list_recall(surveys, kept))


def _scored(work: Work, verdict: Verdict) -> Work:
    return work.evolve(relevance=verdict.score, evidence=verdict.reason)
