"""Ranks, skills, ties and what is left out."""

import pytest

from core.errors import InvalidInputError
from core.leaderboard import item_score, leaderboard
from core.passk import pass_at_k
from core.types.candidate import Candidate, CandidateKind
from core.types.evaluation import Evaluation, Interval, ItemOutcome, SampleOutcome, Sampling, Score, Verdict
from core.types.sow import Benchmark, Role

CODE = Benchmark(name="code", dataset="d", weight=3.0, skill="coding")
MATH = Benchmark(name="math", dataset="d", weight=1.0, metric="exact_match")


def candidate(name: str) -> Candidate:
    return Candidate(id=name, name=name.upper(), kind=CandidateKind.METHOD)


def outcome(item: str, passed: int, samples: int = 1) -> ItemOutcome:
    verdicts = [Verdict.PASSED] * passed + [Verdict.FAILED] * (samples - passed)
    return ItemOutcome(
        item_id=item, samples=tuple(SampleOutcome(index=i, completion="", verdict=v) for i, v in enumerate(verdicts))
    )


def evaluation(name: str, benchmark: str, passed: int, items: int = 100, role: str = "screen") -> Evaluation:
    return Evaluation(
        id=f"run:{name}-{benchmark}", candidate_id=name, benchmark=benchmark, protocol="p", role=role,  # type: ignore[arg-type]
        sampling=Sampling(), outcomes=tuple(outcome(f"{n:03d}", n < passed) for n in range(items)),
        score=Score(metric="m", value=passed / items, interval=Interval(low=0, high=1, method="none"), items=items),
    )  # fmt: skip


def test_pass_at_k_is_the_unbiased_estimator() -> None:
    # Chen et al. (2021): 1 − C(n−c, k)/C(n, k).
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(10, 3, 10) == 1.0
    assert pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)
    assert item_score(outcome("i", 2, 5), "pass@2") == pytest.approx(0.7)
    with pytest.raises(InvalidInputError):
        pass_at_k(5, 2, 6)


def test_weights_of_the_benchmarks_decide_the_rank() -> None:
    found = [
        evaluation("a", "code", 80), evaluation("a", "math", 10),
        evaluation("b", "code", 40), evaluation("b", "math", 90),
    ]  # fmt: skip
    board = leaderboard(Role.SCREEN, [candidate("b"), candidate("a")], found, [CODE, MATH])
    assert [r.candidate.id for r in board.rows] == ["a", "b"]
    assert board.rows[0].score.value == pytest.approx(0.625)
    assert board.rows[0].skills["coding"].value == pytest.approx(0.8)
    assert board.rows[0].skills["coding"].interval.method == "wilson"  # type: ignore[union-attr]
    assert board.rows[1].difference.value == pytest.approx(-0.1)  # type: ignore[union-attr]
    assert board.rows[0].evaluation_ids == ("run:a-code", "run:a-math")


def test_what_can_not_be_told_apart_shares_a_group() -> None:
    passes = {"a": 62, "b": 60, "c": 20}
    board = leaderboard(
        "screen", [candidate(n) for n in passes], [evaluation(n, "code", p) for n, p in passes.items()], [CODE]
    )
    assert [r.tie_group for r in board.rows] == [1, 1, 2]
    assert [r.rank for r in board.rows] == [1, 2, 3]


def test_other_roles_other_items_and_missing_benchmarks_are_left_out() -> None:
    found = [
        evaluation("a", "code", 50), evaluation("b", "code", 60), evaluation("half", "code", 40, items=50),
        evaluation("c", "code", 90, role="confirm"),
    ]  # fmt: skip
    names = ["a", "b", "half", "c"]
    board = leaderboard(Role.SCREEN, [candidate(n) for n in names], found, [CODE])
    assert [r.candidate.id for r in board.rows] == ["b", "a"]
    assert "HALF" in board.note
    assert "C" in board.note
    assert leaderboard(Role.SHOW, [candidate("a")], found, [CODE]).rows == ()


def test_without_slices_the_score_itself_ranks() -> None:
    plain = [evaluation(n, "command", p).evolve(outcomes=()) for n, p in (("a", 30), ("b", 70))]
    board = leaderboard("screen", [candidate("a"), candidate("b")], plain, [])
    assert [(r.candidate.id, r.score.value) for r in board.rows] == [("b", 0.7), ("a", 0.3)]
    assert [r.tie_group for r in board.rows] == [1, 2]


def again(found: Evaluation, seed: int, checksum: str = "") -> Evaluation:
    return found.evolve(id=f"{found.id}-{seed}", sampling=Sampling(temperature=0.2, seed=seed), model_checksum=checksum)


def test_seeds_are_averaged_inside_items_and_counted_in_the_row() -> None:
    a, b = evaluation("a", "code", 62), evaluation("b", "code", 60)
    once = leaderboard("screen", [candidate("a"), candidate("b")], [a, b], [CODE])
    board = leaderboard("screen", [candidate("a"), candidate("b")], [a, again(a, 1), again(a, 2), b], [CODE])
    assert [(r.candidate.id, r.seeds, r.score.items) for r in board.rows] == [("a", 3, 100), ("b", 1, 100)]
    assert [r.score for r in board.rows] == [r.score for r in once.rows]
    assert [r.difference for r in board.rows] == [r.difference for r in once.rows]
    assert len(board.rows[0].evaluation_ids) == 3
    other = again(evaluation("a", "code", 52), 1)
    halved = leaderboard("screen", [candidate("a"), candidate("b")], [a, other, b], [CODE])
    assert {r.candidate.id: r.score.value for r in halved.rows} == {"a": pytest.approx(0.57), "b": 0.6}


def test_draws_count_where_the_model_is_another_and_only_there() -> None:
    a, b = evaluation("a", "code", 62), evaluation("b", "code", 30)
    methods = []
    for checksums in (("m", "m"), ("m", "n")):
        runs = [again(a, 1, checksums[0]), again(evaluation("a", "code", 50), 2, checksums[1])]
        board = leaderboard("screen", [candidate("a"), candidate("b")], [*runs, b], [CODE])
        methods.append(board.rows[0].score.interval.method)  # type: ignore[union-attr]
    assert ["draws" in m for m in methods] == [False, True]


def test_a_command_measured_under_more_seeds_is_compared_over_those_in_common() -> None:
    def run(name: str, passed: int, seed: int) -> Evaluation:
        return again(evaluation(name, "command", passed), seed).evolve(outcomes=())

    found = [run("a", 70, 0), run("a", 72, 1), run("a", 90, 2), run("b", 60, 0), run("b", 61, 1), run("c", 50, 0)]
    board = leaderboard("screen", [candidate(n) for n in "abc"], found, [])
    assert [(r.candidate.id, r.seeds) for r in board.rows] == [("a", 3), ("b", 2), ("c", 1)]
    assert board.rows[1].difference.value == pytest.approx(-0.105)  # type: ignore[union-attr]
    assert {r.tie_group for r in board.rows} == {1}, "one number shows nothing against numbers that scatter"
