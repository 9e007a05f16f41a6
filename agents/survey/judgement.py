"""Deciding on pooled works: screening, classification and assessment, each through the brain in batches.

Clear cases of screening are decided by the score; the uncertain ones are asked about. Text written by a model decides
among what sources returned and never adds a work.
"""

from collections.abc import Mapping, Sequence

from agents.survey.assessment import assess
from agents.survey.classification import Classifier
from agents.survey.dedupe import Found, Pool
from agents.survey.desk import Desk
from agents.survey.likeness import Likeness
from agents.survey.questions import (
    AssessmentAnswer,
    ClassificationAnswer,
    ClassifiedWork,
    ScreenedWork,
    ScreeningAnswer,
    assessment_question,
    batches,
    classification_question,
    screening_question,
)
from agents.survey.screening import Verdict, by_score
from agents.survey.taxonomy import Taxonomy
from agents.survey.text import shorten
from agents.survey.topic import Topic
from core.types.run import Stage
from core.types.work import Screening, Work

_UNCERTAIN = (0.2, 0.85)
_WORD = {Screening.KEPT: "keep", Screening.DROPPED: "drop", Screening.BORDERLINE: "unsure"}
_SCREENING = {word: screening for screening, word in _WORD.items()}


async def screen(desk: Desk, topic: Topic, pool: Pool, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Return the final verdicts: the uncertain works decided by the brain, the rest as scored."""
    final = dict(verdicts)
    low, high = _UNCERTAIN
    works = [f.work for f in by_score(pool, verdicts, lambda v: low <= v.score < high)]
    for number, batch in enumerate(batches(works)):
        hints = {w.key: verdicts[w.key].reason for w in batch}
        policy = ScreeningAnswer(works=[_screened(w, verdicts[w.key]) for w in batch])
        answer = await desk.brain.decide(screening_question(topic, batch, hints, policy))
        for one in answer.works:
            final[one.key] = Verdict(_SCREENING[one.decision], verdicts[one.key].score, one.reason)
        await desk.journal.progress(Stage.SURVEY, number + 1, -(-len(works) // len(batch)), "screening")
    return final


def _screened(work: Work, verdict: Verdict) -> ScreenedWork:
    return ScreenedWork(key=work.key, decision=_WORD[verdict.screening], reason=shorten(verdict.reason, 300))  # type: ignore[arg-type]


async def classify(
    desk: Desk, taxonomy: Taxonomy, found: Sequence[Found], likeness: Likeness
) -> dict[str, ClassifiedWork]:
    """Return the categories of works, by key."""
    classifier = Classifier(taxonomy, found, likeness)
    policies = {}
    for one in found:
        labels = classifier.labels(one)
        evidence = shorten("; ".join(label.evidence for label in labels), 300)
        policies[one.key] = ClassifiedWork(key=one.key, categories=[x.category for x in labels], evidence=evidence)
    decided: dict[str, ClassifiedWork] = {}
    for batch in batches([f.work for f in found]):
        hints = {w.key: policies[w.key].evidence for w in batch}
        policy = ClassificationAnswer(works=[policies[w.key] for w in batch])
        answer = await desk.brain.decide(classification_question(taxonomy, batch, hints, policy))
        decided |= {w.key: w for w in answer.works}
    return decided


async def assess_all(desk: Desk, works: Sequence[Work], language: str = "en") -> list[Work]:
    """Return the works with pros and cons, which a model writes in the report's language."""
    assessed: list[Work] = []
    for batch in batches(works):
        policy = AssessmentAnswer(works=[assess(w) for w in batch])
        answer = await desk.brain.decide(assessment_question(batch, policy, language))
        by_key = {a.key: a for a in answer.works}
        assessed += [w.evolve(pros=tuple(by_key[w.key].pros), cons=tuple(by_key[w.key].cons)) for w in batch]
    return assessed
