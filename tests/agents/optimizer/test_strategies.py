"""The study, the process that knows its noise, the bandit and the proposer."""

import json

import numpy as np
import pytest

from agents.decision import PolicyBrain
from agents.optimizer.agent import chosen_strategy
from agents.optimizer.bandit import choose_arm, gains
from agents.optimizer.failures import FailureMemory
from agents.optimizer.gaussian_process import NARROWEST, WIDEST, Trials, fitted, smoothed
from agents.optimizer.optuna_study import OptunaStudy, StudySettings
from agents.optimizer.proposer import PointAnswer, Proposer
from agents.optimizer.space import Point, SearchSpace
from core.errors import InvalidInputError
from core.study_storage import studies_url
from core.types.evaluation import Evaluation, ItemOutcome, SampleOutcome, Sampling, Score, Verdict
from core.types.optimization import TrialRecord
from tests.fakes.journal import MemoryJournal
from tests.fakes.surface_jobs import MODELS, SOW


def record(number: int, value: float | None, source: str = "gp", state: str = "complete") -> TrialRecord:
    return TrialRecord(
        number=number, candidate_id=f"trial-{number}", source=source, state=state, value=value,  # type: ignore[arg-type]
        parameters={"weight.code": 0.1 * number, "weight.math": 0.5, "weight.chat": 0.5}, method="task_arithmetic",
    )  # fmt: skip


def surface(points: np.ndarray) -> np.ndarray:
    return 1 - ((points - 0.6) ** 2).sum(axis=1)


def trials(points: np.ndarray, values: np.ndarray, deviations: np.ndarray | None = None) -> Trials:
    return Trials(points, values, np.zeros(len(values)) if deviations is None else deviations)


def test_the_process_finds_the_top_of_a_hill() -> None:
    generator = np.random.default_rng(0)
    seen = generator.random((8, 3))
    for _ in range(20):
        point = fitted(trials(seen, surface(seen))).next_point(generator)
        assert ((point >= 0) & (point <= 1)).all()
        seen = np.vstack([seen, point])
    assert np.abs(seen[surface(seen).argmax()] - 0.6).max() < 0.06


def test_a_lucky_value_measured_badly_is_not_believed() -> None:
    seen = np.linspace(0.1, 0.9, 17)[:, None]
    values = 0.8 - (seen[:, 0] - 0.5) ** 2
    values[3] += 0.4
    deviations = np.full(17, 0.005)
    deviations[3] = 0.3
    assert values.argmax() == 3
    assert abs(seen[smoothed(trials(seen, values, deviations)).argmax(), 0] - 0.5) < 0.11


def test_the_box_narrows_with_trials_and_leaves_choices_free() -> None:
    few, many = (Trials(np.zeros((n, 3)), np.zeros(n), np.zeros(n), choices=(2,)) for n in (4, 200))
    assert few.width.tolist() == [WIDEST, WIDEST, 1.0]
    assert many.width.tolist() == [NARROWEST, NARROWEST, 1.0]


def test_a_choice_is_made_whole() -> None:
    generator = np.random.default_rng(1)
    choice = np.eye(2)[generator.integers(0, 2, size=24)]
    points = np.hstack([generator.random((24, 1)), choice])
    values = 0.5 - (points[:, 0] - 0.3) ** 2 + 0.2 * points[:, 2]
    found = fitted(Trials(points, values, np.zeros(24), (1, 2)))
    for _ in range(5):
        assert found.next_point(generator)[1:].tolist() == pytest.approx([0.0, 1.0], abs=1e-9)


def test_a_trial_is_told_once_and_its_record_comes_back(space: SearchSpace) -> None:
    study = OptunaStudy(space, StudySettings("told", seed=1))
    proposal = study.propose("random")
    again = study.unfinished()
    assert again == proposal
    first = record(proposal.number, 0.5)
    study.tell(proposal, first)
    study.tell(proposal, record(proposal.number, 0.9))
    assert study.history() == (first,)
    assert study.unfinished() is None


def test_the_same_seed_asks_the_same_points(space: SearchSpace) -> None:
    def points(seed: int) -> list[Point]:
        study = OptunaStudy(space, StudySettings("seeded", seed=seed))
        found = []
        for sampler in ("random", "tpe", "cmaes", "gp"):
            proposal = study.propose(sampler)
            study.tell(proposal, record(proposal.number, 0.5))
            found.append(proposal.point)
        return found

    assert points(1) == points(1)
    assert points(1) != points(2)


def test_a_point_outside_is_refused_and_counted() -> None:
    space = SearchSpace(MODELS)
    study = OptunaStudy(space, StudySettings("refusing"))
    with pytest.raises(InvalidInputError, match="outside"):
        study.put(Point(method="task_arithmetic", values={"weight.code": 7.0}), "proposer")
    study.refuse(["outside", "outside", "is missing"])
    study.refuse(["outside"])
    assert study.refused() == {"outside": 3, "is missing": 1}


def test_studies_have_a_schema_of_their_own() -> None:
    assert studies_url("postgresql://u:p@/db?host=/tmp") == (
        "postgresql+psycopg://u:p@/db?host=/tmp&options=-csearch_path%3Doptuna"
    )


def test_the_bandit_gives_more_trials_to_the_arm_that_gains() -> None:
    history = []
    for n in range(40):
        good = n % 2 == 0
        history.append(record(n, 0.3 + 0.01 * n if good else 0.1, "gp" if good else "tpe"))
    assert gains(history)[:4] == [True, False, True, False]
    chosen = [choose_arm(history[:n], ("gp", "tpe"), 0) for n in range(20, 40)]
    assert chosen.count("gp") > 15
    assert choose_arm(history, ("gp", "tpe"), 3) == choose_arm(history, ("gp", "tpe"), 3)
    early = {choose_arm(history[:2], ("gp", "tpe"), seed) for seed in range(20)}
    assert early == {"gp", "tpe"}


async def test_without_a_model_the_proposal_is_a_step_from_the_best(space: SearchSpace) -> None:
    journal = MemoryJournal()
    history = [record(3, 0.4), record(5, 0.9)]
    point, refused = await Proposer(PolicyBrain(journal), space).propose(history)
    assert point is not None
    assert space.problems(point) == []
    assert abs(point.values["weight.code"] - 0.5) < 0.6
    assert refused == []
    assert "trials" in json.loads(journal.transcripts[0].messages[0].content)


async def test_what_a_model_proposes_outside_is_refused_with_the_reason(space: SearchSpace) -> None:
    class Stubborn(PolicyBrain):
        async def decide(self, question):  # type: ignore[no-untyped-def]
            bad = PointAnswer(method="magic", values={"weight.code": 99.0})
            self.problems = list(question.check(bad))
            return bad

    brain = Stubborn(MemoryJournal())
    point, refused = await Proposer(brain, space).propose([record(1, 0.2)])
    assert point is None
    assert any("outside [0.0, 1.5]" in p for p in brain.problems)
    assert sorted(set(refused)) == ["is missing", "is not one of", "outside"]


def outcome(item: str, *, passed: bool, detail: str = "", family: str = "sums") -> ItemOutcome:
    verdict = Verdict.PASSED if passed else Verdict.FAILED
    sample = SampleOutcome(index=0, completion="", verdict=verdict, detail=detail)
    return ItemOutcome(item_id=item, samples=(sample,), labels={"family": family})


def evaluated(*outcomes: ItemOutcome) -> Evaluation:
    return Evaluation(
        id="e", candidate_id="c", benchmark="math-search", protocol="exact_match", role="search", sampling=Sampling(),
        outcomes=outcomes, score=Score(metric="exact_match", value=0.5, items=len(outcomes)),
    )  # fmt: skip


async def test_a_proposer_sees_how_the_best_trials_fail(space: SearchSpace) -> None:
    memory, journal = FailureMemory(), MemoryJournal()
    first, second = record(0, 0.5), record(1, 0.4)
    memory.keep(first.candidate_id, evaluated(outcome("a", passed=True), outcome("b", passed=False, detail="4, not 5")))
    memory.keep(second.candidate_id, evaluated(outcome("a", passed=False), outcome("b", passed=True)))
    memory.keep(second.candidate_id, evaluated(outcome("c", passed=False, detail="x" * 500, family="products")))
    await Proposer(PolicyBrain(journal), space, 0, memory.summary).propose([first, second])
    shown = json.loads(journal.transcripts[0].messages[0].content)["failures"]
    assert shown["trial 0"]["math-search"] == {
        "items": 2, "failed": 1, "verdicts": {"failed": 1}, "details": ["4, not 5"], "families": {"sums": 1},
        "solved_by_another_trial": ["b"],
    }  # fmt: skip
    assert shown["trial 1"]["math-search"]["items"] == 3
    assert shown["trial 1"]["math-search"]["details"] == ["x" * 80]
    assert shown["trial 1"]["math-search"]["solved_by_another_trial"] == ["a"]


@pytest.mark.parametrize(
    ("kind", "model", "name"), [("auto", False, "gp"), ("auto", True, "bandit"), ("tpe", True, "tpe")]
)
def test_a_language_model_joins_the_search_unless_the_sow_says_otherwise(kind: str, model: bool, name: str) -> None:
    sow = SOW.evolve(optimization=SOW.optimization.evolve(strategy=kind))
    study = OptunaStudy(SearchSpace(MODELS), StudySettings("auto"))
    proposer = Proposer(PolicyBrain(MemoryJournal()), SearchSpace(MODELS)) if model else None
    assert chosen_strategy(sow, study, (), proposer).name == name
