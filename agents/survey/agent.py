"""The survey procedure (design: survey.md): search, lists and surveys, snowballing, screening, classes, code, coverage.

Every work kept was returned by a source; a model only decides among those. What is asked goes through the sources'
caches, so a run that is started again repeats no question that was answered.
"""

from agents.survey.desk import Desk, Sources, Workbench
from agents.survey.gather import Gatherer
from agents.survey.judgement import assess_all, classify, screen
from agents.survey.merging_taxonomy import MERGING, applies_to_merging
from agents.survey.screening import Screener, Verdict, by_score
from agents.survey.taxonomy import Taxonomy, extend
from agents.survey.topic import Topic, topic_of
from core.types.run import Stage
from core.types.sow import StatementOfWork
from core.types.work import Screening, Survey, Work


async def survey(sow: StatementOfWork, sources: Sources, desk: Desk) -> Survey:
    """Find, screen, classify and count the works on a SoW's topic."""
    base = base_taxonomy(sow)
    topic = topic_of(sow, base.terms if base else ())
    bench = Workbench()
    await desk.journal.event("survey.started", f"Surveying: {', '.join(topic.labels)}", stage=Stage.SURVEY)
    await Gatherer(bench, desk).search_all(sources.literature, topic.labels, lambda _: True)
    return await conclude(topic, base, bench, desk)


def base_taxonomy(sow: StatementOfWork) -> Taxonomy | None:
    """Return the built-in taxonomy of a SoW's topic, if there is one."""
    merging = (sow.kind == "merge" and sow.models is not None) or applies_to_merging((sow.title, *sow.survey.include))
    return MERGING if merging else None


async def conclude(topic: Topic, base: Taxonomy | None, bench: Workbench, desk: Desk) -> Survey:
    """Screen, classify and assess what was gathered."""
    verdicts = await screen(desk, topic, bench.pool, Screener(topic).judge(bench.pool))
    kept = by_score(bench.pool, verdicts, lambda v: v.screening is Screening.KEPT)
    borderline = by_score(bench.pool, verdicts, lambda v: v.screening is Screening.BORDERLINE)
    paths = [path for found in kept for paths in found.headings.values() for path in paths]
    taxonomy = extend(base, [*paths, *((c,) for found in kept for c in found.work.categories)])
    labels = await classify(desk, taxonomy, kept)
    works = [
        found.work.evolve(
            relevance=verdicts[found.key].score,
            categories=tuple(labels[found.key].categories),
            evidence=labels[found.key].evidence,
        )
        for found in kept
    ]
    used = {c for w in works for c in w.categories}
    return Survey(
        works=tuple(await assess_all(desk, works)),
        borderline=tuple(_scored(f.work, verdicts[f.key]) for f in borderline),
        dropped=len(bench.pool) - len(kept) - len(borderline),
        taxonomy={key: text for key, text in taxonomy.described().items() if key in used},
        ledger=bench.ledger.rows({key: v.screening for key, v in verdicts.items()}),
        stop_reason=bench.stop_reason or "all queries were answered",
        model_used=desk.brain.model,
    )


def _scored(work: Work, verdict: Verdict) -> Work:
    return work.evolve(relevance=verdict.score, evidence=verdict.reason)
