"""Tie groups, noise floor, sequential dropping and the winner's curse, against simulation and published numbers."""

import numpy as np
import pytest

from core.errors import InvalidInputError
from core.statistics.noise import noise_floor
from core.statistics.sequential import TrailingTest
from core.statistics.ties import tie_groups
from core.statistics.winner import corrected_winner, expected_optimism


def test_a_tie_group_ends_where_all_below_are_worse_than_its_leader() -> None:
    table = {(0, 1): 0.9, (0, 2): 0.0001, (0, 3): 0.5, (0, 4): 0.0001, (0, 5): 0.0001, (4, 5): 0.4}
    assert tie_groups(6, lambda i, j: table[(i, j)]) == (1, 1, 1, 1, 2, 2)
    assert tie_groups(0, lambda i, j: 0.0) == ()
    assert tie_groups(1, lambda i, j: 0.0) == (1,)
    assert tie_groups(3, lambda i, j: 0.001) == (1, 2, 3)


def test_ties_are_judged_over_all_pairs() -> None:
    # 0.02 parts two candidates, but three have three pairs.
    assert tie_groups(2, lambda i, j: 0.02) == (1, 2)
    assert set(tie_groups(3, lambda i, j: 0.02)) == {1}
    assert set(tie_groups(11, lambda i, j: 0.0009)) == {*range(1, 12)}
    assert set(tie_groups(11, lambda i, j: 0.001)) == {1}


def test_the_noise_floor_is_the_spread_of_repeated_runs() -> None:
    generator = np.random.default_rng(0)
    chances = generator.beta(0.5, 0.5, size=164)

    def run() -> dict[str, float]:
        return {str(i): float(v) for i, v in enumerate(generator.binomial(10, chances) / 10)}

    floor = noise_floor([run() for _ in range(4)])
    scores = np.array([np.mean(list(run().values())) for _ in range(600)])
    assert floor.deviation == pytest.approx(scores.std(), rel=0.15)
    beyond = np.abs(scores[:300] - scores[300:]) > floor.difference
    assert 0.01 < beyond.mean() < 0.1


def test_greedy_runs_have_no_noise_and_one_seed_tells_nothing() -> None:
    run = {"a": 1.0, "b": 0.0}
    assert noise_floor([run, run]).difference == 0
    with pytest.raises(InvalidInputError):
        noise_floor([run])
    with pytest.raises(InvalidInputError, match="same items"):
        noise_floor([run, {"a": 1.0}])


def test_a_candidate_as_good_as_the_incumbent_is_dropped_no_more_often_than_stated() -> None:
    generator = np.random.default_rng(1)
    dropped = 0
    for _ in range(1500):
        differences = generator.permutation(np.repeat([1.0, -1.0, 0.0], [15, 15, 70]))
        dropped += TrailingTest(100, error=0.1).update(differences)
    assert dropped / 1500 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 1500)


def test_a_trailing_candidate_is_dropped_long_before_the_last_item() -> None:
    generator = np.random.default_rng(2)
    used = []
    for _ in range(100):
        test = TrailingTest(200, error=0.1)
        for step, value in enumerate(generator.permutation(np.repeat([1.0, -1.0, 0.0], [10, 60, 130])), 1):
            if test.update([value]):
                used.append(step)
                break
    assert len(used) == 100
    assert np.median(used) < 60


def test_what_can_not_be_made_up_for_is_dropped_for_certain() -> None:
    test = TrailingTest(10, error=1e-9)
    assert not test.update([-1.0] * 5)
    assert test.update([-1.0])
    assert test.evidence == float("inf")


def test_the_test_refuses_what_it_was_not_made_for() -> None:
    with pytest.raises(InvalidInputError):
        TrailingTest(0)
    with pytest.raises(InvalidInputError, match="scale"):
        TrailingTest(3).update([2.0])
    test = TrailingTest(1)
    test.update([0.0])
    with pytest.raises(InvalidInputError, match="made for 1"):
        test.update([0.0])


def test_the_best_of_ten_equal_candidates_looks_six_points_too_good() -> None:
    # The design's own figure for 164 items: 5.9 points (exact binomial; 6.0 by the normal formula).
    generator = np.random.default_rng(3)
    scores = generator.binomial(164, 0.5, size=(4000, 10)) / 164
    assert scores.max(axis=1).mean() - 0.5 == pytest.approx(0.059, abs=0.002)
    assert expected_optimism(10, 164) == pytest.approx(0.0600, abs=0.0005)
    assert expected_optimism(1, 164) == pytest.approx(0, abs=1e-9)


def test_the_correction_takes_the_luck_of_the_choice_away() -> None:
    generator = np.random.default_rng(4)
    naive, corrected = [], []
    for _ in range(60):
        found = corrected_winner((generator.random((10, 164)) < 0.5).astype(float), resamples=300)
        naive.append(found.naive)
        corrected.append(found.value)
    assert np.mean(naive) - 0.5 > 0.05
    assert abs(np.mean(corrected) - 0.5) < 0.015


def test_a_clear_winner_keeps_its_score() -> None:
    generator = np.random.default_rng(5)
    chances = np.array([0.2, 0.8, 0.3])[:, None]
    found = corrected_winner((generator.random((3, 164)) < chances).astype(float))
    assert found.winner == 1
    assert abs(found.optimism) < 0.005
    with pytest.raises(InvalidInputError):
        corrected_winner(np.zeros((2, 1)))
