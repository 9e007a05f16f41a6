"""A search's trials in an Optuna study, kept in the database: `optuna-dashboard` opens it, a killed search goes on.

Every sampler is made anew for each trial with a seed from the trial's number, so that a search that was killed and
resumed asks for the same points as one that was not. A trial is written before it is evaluated and told once: after a
kill it is still RUNNING and is handed out again under its own number, its jobs are found by their keys.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from agents.optimizer.gaussian_process import DEVIATION, GaussianProcessSampler
from agents.optimizer.space import Point, Space
from agents.optimizer.strategy import Proposal
from core.errors import InvalidInputError
from core.study_storage import open_study_storage
from core.types.optimization import TrialRecord

METHOD, RECORD, SOURCE, START = "method", "record", "source", "start"
SAMPLERS = ("tpe", "gp", "cmaes", "random")
_OPEN = (TrialState.WAITING, TrialState.RUNNING)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class StudySettings:
    """Which study, where, and how it is seeded. Without a URL it lives in memory and dies with the process."""

    name: str
    url: str | None = None
    seed: int = 0


class OptunaStudy:
    """One search's trials. Calls block: use it from a thread."""

    def __init__(self, space: Space, settings: StudySettings) -> None:
        self._space = space
        self._seed = settings.seed
        self._storage = open_study_storage(settings.url) if settings.url else None
        self._study = optuna.create_study(
            study_name=settings.name, storage=self._storage, direction="maximize", load_if_exists=True
        )
        floats = {d.name: FloatDistribution(d.low, d.high) for d in space.dimensions}
        choice = {METHOD: CategoricalDistribution(space.methods)} if len(space.methods) > 1 else {}
        self._distributions: dict[str, BaseDistribution] = {**floats, **choice}

    def close(self) -> None:
        """Close the connections to the database; a study in memory has none."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()

    @property
    def name(self) -> str:
        """Return the study's name in its storage."""
        return str(self._study.study_name)

    def trials(self) -> Sequence[FrozenTrial]:
        """Return all trials, in the order asked."""
        return self._study.get_trials(deepcopy=False)

    def unfinished(self) -> Proposal | None:
        """Return the oldest trial that was asked for and not told, or None."""
        open_trials = [t for t in self.trials() if t.state in _OPEN]
        if not open_trials:
            return None
        first = open_trials[0]
        if first.state is TrialState.WAITING:
            return self._ask("random")
        # A process that died while asking may have left a trial without some of its values.
        self._study.sampler = self._sampler(first.user_attrs.get(SOURCE, "random"), first.number)
        return self._proposal(Trial(self._study, first._trial_id))

    def propose(self, sampler: str) -> Proposal:
        """Return a new trial at the point that one of SAMPLERS chooses."""
        return self._ask(sampler)

    def put(self, point: Point, source: str, **attributes: Any) -> Proposal:
        """Return a new trial at a given point; raise InvalidInputError when it is outside the space."""
        problems = self._space.problems(point)
        if problems:
            raise InvalidInputError(f"The point is outside the search space: {'; '.join(problems)}")
        params = {**point.values, METHOD: point.method}
        known = {name: params[name] for name in self._distributions}
        self._study.enqueue_trial(known, user_attrs={SOURCE: source, **attributes})
        return self._ask("random")

    def starts_used(self) -> set[str]:
        """Return the names of the warm starts that are already trials."""
        return {t.user_attrs[START] for t in self.trials() if START in t.user_attrs}

    def tell(self, proposal: Proposal, record: TrialRecord) -> None:
        """Keep what came of a trial. A trial that was told before is left as it is."""
        trial = next(t for t in self.trials() if t.number == proposal.number)
        if trial.state.is_finished():
            return
        running = Trial(self._study, trial._trial_id)
        running.set_user_attr(RECORD, record.model_dump(mode="json"))
        running.set_user_attr(DEVIATION, record.deviation)
        if record.value is None:
            self._study.tell(proposal.number, state=TrialState.FAIL)
        else:
            self._study.tell(proposal.number, record.value)

    def history(self) -> tuple[TrialRecord, ...]:
        """Return the records of all finished trials, in the order asked."""
        done = [t for t in self.trials() if t.state.is_finished() and RECORD in t.user_attrs]
        return tuple(TrialRecord.model_validate(t.user_attrs[RECORD]) for t in done)

    def refused(self) -> dict[str, int]:
        """Return how many proposals were refused, by reason."""
        return json.loads(self._study.user_attrs.get("refused", "{}"))

    def refuse(self, reasons: Sequence[str]) -> None:
        """Count refused proposals."""
        counts = self.refused()
        for reason in reasons:
            counts[reason] = counts.get(reason, 0) + 1
        self._study.set_user_attr("refused", json.dumps(counts))

    def importance(self) -> dict[str, float]:
        """Return each dimension's share of the variance among good trials (PED-ANOVA); empty with under ten trials."""
        complete = [t for t in self.trials() if t.state is TrialState.COMPLETE]
        if len(complete) < 10 or len({t.value for t in complete}) < 3:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def _ask(self, sampler: str) -> Proposal:
        number = len(self.trials())
        self._study.sampler = self._sampler(sampler, number)
        trial = self._study.ask()
        if SOURCE not in trial.user_attrs:
            trial.set_user_attr(SOURCE, sampler)
        return self._proposal(trial)

    def _proposal(self, trial: Trial) -> Proposal:
        values = {n: trial.suggest_float(n, d.low, d.high) for n, d in self._floats()}
        method = trial.suggest_categorical(METHOD, self._space.methods) if METHOD in self._distributions else None
        point = Point(method=str(method or self._space.methods[0]), values=values)
        return Proposal(number=trial.number, point=point, source=str(trial.user_attrs.get(SOURCE, "random")))

    def _floats(self) -> list[tuple[str, FloatDistribution]]:
        return [(n, d) for n, d in self._distributions.items() if isinstance(d, FloatDistribution)]

    def _sampler(self, name: str, number: int) -> BaseSampler:
        seed = (self._seed * 1_000_003 + number * 7919) % (2**31)
        if name == "gp":
            return GaussianProcessSampler(seed, self._distributions)
        if name == "cmaes":
            return CmaEsSampler(seed=seed, n_startup_trials=0)
        if name == "tpe":
            return TPESampler(seed=seed, n_startup_trials=6, multivariate=True)
        return RandomSampler(seed)
