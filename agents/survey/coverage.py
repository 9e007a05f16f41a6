"""How complete a survey is: capture-recapture over its sources, and recall against a found survey's own references.

Each way of finding works (a source's search, lists, surveys, snowballing) is a capture occasion. With two, Chapman's
estimator; with more, Chao's lower bound and Poisson log-linear models with and without pairwise dependence, weighed by
AIC. Sources depend on each other, mostly positively, so the population is underestimated and coverage is an upper
bound; works that no occasion can find are invisible to all of this.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint

from agents.survey.dedupe import Found
from core.types.work import Coverage

LEAST_WORKS = 10
MOST_OCCASIONS = 5
LEAST_REFERENCES = 20
_Z = 1.96
_AIC_WINDOW = 10.0
_NOTE = (
    "Sources depend on each other (what one knows, others tend to know), so the population is likely larger and "
    "coverage likely lower than estimated: read it as an upper bound."
)


@dataclass(frozen=True)
class Population:
    """An estimate of how many works there are, with its interval."""

    method: str
    total: float
    low: float
    high: float


@dataclass(frozen=True)
class HiddenRecall:
    """How many of a survey's references were found without that survey's help."""

    survey: str
    found: int
    references: int
    low: float
    high: float

    def sentence(self) -> str:
        """Return the result in words."""
        return (
            f"With the references of “{self.survey}” hidden, {self.found} of its {self.references} in-scope references "
            f"were found otherwise ({self.found / self.references:.0%}, 95 % Wilson interval {self.low:.0%} to "
            f"{self.high:.0%})."
        )


def estimate(
    captures: Sequence[Iterable[str]],
    kept: Sequence[float] = (),
    unkept: Sequence[float] = (),
    hidden: HiddenRecall | None = None,
) -> Coverage:
    """Return the estimated coverage of kept works, each given by the occasions that found it.

    `kept` and `unkept` are the relevance scores of works that were found, read as chances of being in scope. What was
    not kept adds to the population. What was kept and is not in scope was mostly found once, and so makes more works
    seem unseen than are: the lower end leaves as many out. Works are whole: the ends are rounded outward. The interval
    spans those of all estimators, since none of their assumptions holds.
    """
    histories = [frozenset(c) for c in captures]
    observed = len(histories)
    found = populations(histories)
    spoken = f" {hidden.sentence()}" if hidden else ""
    if not found:
        return Coverage(method="No estimate", note=f"Too few works or occasions to estimate from.{spoken}")
    missed = sum(unkept)
    doubt = _Z * math.sqrt(sum(s * (1 - s) for s in unkept))
    total = sorted(p.total for p in found)[len(found) // 2] + missed
    foreign = sum(1 - s for s in kept)
    low = max(observed, math.floor(min(p.low for p in found) - foreign))
    high = math.ceil(max(p.high for p in found) + missed + doubt)
    how = ", ".join(f"{p.method} {p.total:.0f} [{p.low:.0f}, {p.high:.0f}]" for p in found)
    return Coverage(
        estimated_total=round(total, 1),
        low=round(low, 1),
        high=round(high, 1),
        method=f"Capture-recapture over {observed} works: {how}; found, not kept and yet likely in scope: {missed:.0f}",
        note=f"Coverage {observed / high:.0%} to {observed / low:.0%}. {_NOTE}{spoken}",
    )


def populations(histories: Sequence[frozenset[str]]) -> list[Population]:
    """Return the population by every estimator that the data allow."""
    counts = Counter(o for h in histories for o in h)
    occasions = [o for o, n in counts.most_common(MOST_OCCASIONS) if n > 0]
    if len(histories) < LEAST_WORKS or len(occasions) < 2:
        return []
    held = [frozenset(h & set(occasions)) for h in histories]
    outside = sum(not h for h in held)
    seen = [h for h in held if h]
    if len(occasions) == 2:
        estimates = [chapman(seen, occasions[0], occasions[1])]
    else:
        estimates = [chao(seen), *([log] if (log := log_linear(seen, occasions)) else [])]
    return [Population(p.method, p.total + outside, p.low + outside, p.high + outside) for p in estimates]


def chapman(histories: Sequence[frozenset[str]], one: str, other: str) -> Population:
    """Return Chapman's estimate from two occasions (Chapman 1951; variance by Seber 1970)."""
    first = sum(one in h for h in histories)
    second = sum(other in h for h in histories)
    both = sum(one in h and other in h for h in histories)
    total = (first + 1) * (second + 1) / (both + 1) - 1
    variance = (first + 1) * (second + 1) * (first - both) * (second - both) / ((both + 1) ** 2 * (both + 2))
    return _population("Chapman", total, variance, len(histories))


def chao(histories: Sequence[frozenset[str]]) -> Population:
    """Return Chao's bias-corrected lower bound from works found once and twice (Chao 1987)."""
    sizes = Counter(len(h) for h in histories)
    once, twice = sizes[1], sizes[2]
    unseen = once * (once - 1) / (2 * (twice + 1))
    ratio = once / max(twice, 1)
    variance = max(twice, 1) * (0.25 * ratio**4 + ratio**3 + 0.5 * ratio**2)
    return _population("Chao", len(histories) + unseen, variance, len(histories))


def log_linear(histories: Sequence[frozenset[str]], occasions: Sequence[str]) -> Population | None:
    """Return the estimate of Poisson log-linear models, pairwise dependences added, weighed by AIC (Fienberg 1972)."""
    patterns = [p for p in product((0, 1), repeat=len(occasions)) if any(p)]
    cells = Counter(tuple(int(o in h) for o in occasions) for h in histories)
    counts = np.array([cells[p] for p in patterns], dtype=float)
    fits = []
    for pairs in _models(patterns, counts, len(occasions)):
        fitted = _fit(patterns, counts, pairs)
        if fitted is not None:
            fits.append(fitted)
    if not fits:
        return None
    best = min(aic for aic, _, _ in fits)
    near = [(math.exp(-(aic - best) / 2), unseen, error) for aic, unseen, error in fits if aic - best <= _AIC_WINDOW]
    weight = sum(w for w, _, _ in near)
    unseen = sum(w * u for w, u, _ in near) / weight
    variance = sum(w * (e**2 + (u - unseen) ** 2) for w, u, e in near) / weight
    return _population("log-linear", len(histories) + unseen, variance, len(histories))


def _models(
    patterns: Sequence[tuple[int, ...]], counts: np.ndarray, occasions: int
) -> list[tuple[tuple[int, int], ...]]:
    """Return models from independence upward: at each step the pair that lowers the AIC the most is added."""
    pairs = list(combinations(range(occasions), 2))
    chosen: tuple[tuple[int, int], ...] = ()
    models = [chosen]
    while len(chosen) < len(pairs) and len(chosen) + occasions + 2 < len(patterns):
        tried = [
            (fit[0], pair) for pair in pairs if pair not in chosen and (fit := _fit(patterns, counts, (*chosen, pair)))
        ]
        if not tried:
            break
        chosen = (*chosen, min(tried)[1])
        models.append(chosen)
    return models


def _fit(
    patterns: Sequence[tuple[int, ...]], counts: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> tuple[float, float, float] | None:
    """Return AIC, the expected number of unseen works and its standard error."""
    rows = [[1, *p, *(p[i] * p[j] for i, j in pairs)] for p in patterns]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = sm.GLM(counts, np.array(rows, dtype=float), family=sm.families.Poisson()).fit(maxiter=50)
    except (np.linalg.LinAlgError, ValueError):
        return None
    intercept, error = float(result.params[0]), float(result.bse[0])
    usable = (
        math.isfinite(intercept) and math.isfinite(error) and intercept < math.log(20 * counts.sum() + 1) and error < 3
    )
    return (float(result.aic), math.exp(intercept), math.exp(intercept) * error) if usable else None


def _population(method: str, total: float, variance: float, observed: int) -> Population:
    """Return an estimate with the log-normal interval of the unseen, which never falls below what was observed."""
    unseen = max(total - observed, 0.0)
    if unseen < 0.5 or variance <= 0:
        return Population(
            method, max(total, observed), observed, observed + max(1.0, unseen + _Z * math.sqrt(max(variance, 1)))
        )
    spread = math.exp(_Z * math.sqrt(math.log1p(variance / unseen**2)))
    return Population(method, total, observed + unseen / spread, observed + unseen * spread)


def hidden_list_recall(surveys: Sequence[Found], kept: Sequence[Found]) -> HiddenRecall | None:
    """Return the recall against the references of the found survey with the most, as if it were hidden."""
    best: HiddenRecall | None = None
    for survey in surveys:
        cited = [f for f in kept if survey.key in f.cited_by]
        if len(cited) < LEAST_REFERENCES or (best and len(cited) <= best.references):
            continue
        others = sum(bool(f.occasions - {"surveys"}) for f in cited)
        low, high = proportion_confint(others, len(cited), method="wilson")
        best = HiddenRecall(survey.work.title, others, len(cited), float(low), float(high))
    return best
