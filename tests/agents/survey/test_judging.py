"""Screening, classes and coverage on small made-up pools."""

import numpy as np
import pytest

from agents.survey.classification import Classifier
from agents.survey.coverage import chao, chapman, estimate, log_linear, populations
from agents.survey.dedupe import Found, Pool, make_work
from agents.survey.drafting import draft, has_categories
from agents.survey.likeness import likeness_of
from agents.survey.merging_taxonomy import MERGING
from agents.survey.screening import Screener
from agents.survey.taxonomy import OTHER, SURVEY, extend
from agents.survey.topic import topic_of
from core.types.sow import StatementOfWork
from core.types.work import Screening, WorkIds

TOPIC = topic_of(
    StatementOfWork(sow=1, title="Model merging", survey={"years": (2015, 2026), "exclude": ["image generation"]})
)


def pooled(*titles: str, year: int = 2024) -> tuple[Pool, list[Found]]:
    pool = Pool()
    records = [pool.add(make_work(t, WorkIds(arxiv=f"2401.{10000 + n}"), year=year))[0] for n, t in enumerate(titles)]
    return pool, records


def test_what_names_the_topic_is_kept_and_rules_come_first() -> None:
    pool, (plain, excluded, stranger) = pooled(
        "Model merging made easy", "Model merging for image generation", "A study of bees"
    )
    verdicts = Screener(TOPIC).judge(pool)
    assert verdicts[plain.key].screening is Screening.KEPT
    assert verdicts[excluded.key].screening is Screening.DROPPED
    assert "excluded term" in verdicts[excluded.key].reason
    assert verdicts[stranger.key].screening is Screening.DROPPED
    old, (early,) = pooled("Model merging made early", year=1999)
    assert "outside 2015-2026" in Screener(TOPIC).judge(old)[early.key].reason


def test_company_speaks_for_a_work_and_fame_does_not() -> None:
    merging = [f"Model merging number {n}" for n in range(8)]
    pool, (*inside, quiet, famous) = pooled(*merging, "An obscure title", "A classic everybody cites")
    for one in inside:
        for cited in (quiet, famous):
            cited.cited_by.add(one.key)
    quiet.work = quiet.work.evolve(citations=10)
    famous.work = famous.work.evolve(citations=90000)
    verdicts = Screener(TOPIC).judge(pool)
    assert verdicts[quiet.key].screening is Screening.KEPT
    assert verdicts[famous.key].screening is Screening.DROPPED


def test_works_kept_for_their_company_vouch_for_nobody() -> None:
    merging = [f"Model merging number {n}" for n in range(8)]
    pool, (*inside, first, second) = pooled(*merging, "An obscure title", "One step further away")
    first.cites |= {one.key for one in inside}
    first.references_seen = 10
    second.cites |= {first.key}
    second.references_seen = 5
    second.cited_by |= {first.key}
    verdicts = Screener(TOPIC).judge(pool)
    assert verdicts[first.key].screening is Screening.KEPT
    assert verdicts[second.key].screening is Screening.DROPPED


def test_lists_and_the_users_catalogue_speak_for_a_work() -> None:
    pool, (listed, declared) = pooled("An obscure title", "Another title")
    listed.list_under("a/awesome", [("Methods",)])
    declared.declared = True
    assert all(v.screening is Screening.KEPT for v in Screener(TOPIC).judge(pool).values())


@pytest.mark.parametrize(
    ("title", "family"),
    [
        ("Merging with Fisher-weighted coefficients", "weighted"),
        ("Evolutionary search of merging recipes", "weighted"),
        ("Low-rank task vectors in a shared subspace", "subspace"),
        ("Pruning and masking delta parameters", "subspace"),
        ("Dynamic routing among experts at inference", "routing"),
        ("Representation surgery after merging", "post_calibration"),
    ],
)
def test_wording_shows_the_family(title: str, family: str) -> None:
    _, (found,) = pooled(title)
    assert Classifier(extend(MERGING, []), [found]).labels(found)[0].category == family


def test_headings_and_stated_categories_win_over_wording() -> None:
    _, (listed, stated, survey, vague) = pooled("Low-rank things", "Sparse things", "All about it", "Unheard-of words")
    listed.list_under("a/b", [("Advanced", "Routing-based Merging Methods (Dynamic Merging)")])
    stated.work = stated.work.evolve(categories=("post_calibration",))
    survey.work = survey.work.evolve(is_survey=True)
    classifier = Classifier(extend(MERGING, []), [listed, stated, survey, vague])
    assert classifier.labels(listed)[0].category == "routing"
    assert "a/b lists it" in classifier.labels(listed)[0].evidence
    assert classifier.labels(stated)[0].category == "post_calibration"
    assert classifier.labels(survey)[0].category == SURVEY
    assert classifier.labels(vague)[0].category == OTHER


SUBJECTS = {
    "Aggregation": "Secure aggregation of {} updates",
    "Compression": "Gradient compression for {} links",
    "Selection": "Client selection among {} devices",
}
PLACES = ("mobile", "wireless", "hospital", "vehicle", "satellite", "factory", "campus", "edge", "home", "bank")


def test_works_that_no_list_shows_are_classified_like_those_that_one_does() -> None:
    forms = [(h, form.format(place)) for h, form in SUBJECTS.items() for place in PLACES]
    _, found = pooled(*(title for _, title in forms))
    for number, (one, (heading, _)) in enumerate(zip(found, forms, strict=True)):
        if number % 2:
            one.list_under("a/list", [(heading,)])
    classifier = Classifier(extend(None, [(h,) for h, _ in forms]), found)
    for one, (heading, _) in zip(found[::2], forms[::2], strict=True):
        label = classifier.labels(one)[0]
        assert label.category == heading.lower()
        assert "most like" in label.evidence


def test_evidence_spreads_to_the_works_most_alike() -> None:
    titles = [f"Low-rank mixing of {p} adapters" for p in PLACES] + [f"Dynamic mixing of {p} inputs" for p in PLACES]
    _, found = pooled(*titles, "Mixing of museum adapters", "Mixing of museum inputs")
    classifier = Classifier(extend(MERGING, []), found)
    assert classifier.labels(found[-2])[0].category == "subspace"
    assert classifier.labels(found[-1])[0].category == "routing"


def test_a_topic_without_any_list_gets_drafted_categories() -> None:
    titles = [form.format(place) for form in SUBJECTS.values() for place in PLACES]
    _, found = pooled(*titles)
    likeness, bare = likeness_of(found, {}), extend(None, [])
    assert not has_categories(bare)
    drafted = draft(bare, titles, likeness, frozenset())
    named = {c.title.split(" / ")[0].lower() for c in drafted.categories}
    assert named & {"secure aggregation", "gradient compression", "client selection"}
    groups = [Classifier(drafted, found, likeness).labels(f)[0].category for f in found]
    assert len(set(groups)) >= 3
    assert draft(bare, titles[:10], likeness_of(found[:10], {}), frozenset()) == bare


def test_other_topics_get_their_taxonomy_from_headings() -> None:
    drafted = extend(None, [("List", "Secure Aggregation (3 papers)")] * 3 + [("List", "Rare")])
    assert [c.key for c in drafted.categories] == [SURVEY, "secure_aggregation", OTHER]


def test_weight_alignment_is_not_weighted_merging() -> None:
    assert MERGING.of_heading(("Pre-Merging", "Weight Alignment")) is None
    found = MERGING.of_heading(("During Merging", "Weighted-based Merging Methods"))
    assert found is not None
    assert found.key == "weighted"


def simulated(size: int, chances: dict[str, float], seed: int) -> list[frozenset[str]]:
    rng = np.random.default_rng(seed)
    rows = [frozenset(o for o, p in chances.items() if rng.random() < p) for _ in range(size)]
    return [r for r in rows if r]


def test_chapman_by_hand() -> None:
    histories = [frozenset("ab")] * 30 + [frozenset("a")] * 20 + [frozenset("b")] * 10
    assert chapman(histories, "a", "b").total == pytest.approx(51 * 41 / 31 - 1)


def test_chao_by_hand() -> None:
    histories = [frozenset("a")] * 10 + [frozenset("ab")] * 4 + [frozenset("abc")] * 6
    assert chao(histories).total == pytest.approx(20 + 10 * 9 / (2 * 5))


def test_independent_sources_are_estimated_rightly_most_times() -> None:
    chances = {"a": 0.5, "b": 0.4, "c": 0.3}
    hits = 0
    for seed in range(20):
        fitted = log_linear(simulated(500, chances, seed), ["a", "b", "c"])
        assert fitted is not None
        hits += fitted.low <= 500 <= fitted.high
    assert hits >= 17


def test_coverage_spans_the_estimators_and_counts_the_doubtful() -> None:
    histories = simulated(400, {"a": 0.6, "b": 0.5, "c": 0.4}, 1)
    plain, doubtful = estimate(histories), estimate(histories, (), [0.4] * 20)
    assert plain.low is not None
    assert plain.high is not None
    assert len(histories) <= plain.low <= 400 <= plain.high
    assert doubtful.high is not None
    assert doubtful.high > plain.high + 8
    assert "upper bound" in plain.note


def test_too_little_gives_no_estimate() -> None:
    assert populations([frozenset("a")] * 100) == []
    assert estimate([frozenset("ab")] * 3).estimated_total is None
