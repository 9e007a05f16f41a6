"""Jobs side by side, and merges whose tensors are computed so."""

import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from core.merging import Engine
from core.merging_table import DECLARATIONS, recipe_config
from tests.worker.merge.models import load_bank, load_model
from worker.merge.apply import merge_tensors, resolve, write_targets
from worker.merge.kernels.threads import lanes, later
from worker.merge.targets import resident_targets

SIDE_BY_SIDE = [n for n, d in DECLARATIONS.items() if d.engine is Engine.MERGEKIT or n in {"ties", "task_arithmetic"}]


@pytest.fixture
def three_threads() -> None:
    torch.set_num_threads(3)


def seen() -> tuple[str, int, bool]:
    return threading.current_thread().name, torch.get_num_threads(), torch.is_grad_enabled()


def test_without_lanes_a_job_is_done_at_once_by_the_caller() -> None:
    assert later(seen).result() == seen()


@pytest.mark.usefixtures("three_threads")
def test_jobs_run_beside_the_caller_with_one_thread_each_and_no_gradients() -> None:
    meeting = threading.Barrier(3, timeout=20)
    with lanes():
        assert torch.get_num_threads() == 1
        met = [later(lambda: (meeting.wait(), seen())[1]) for _ in range(3)]
    assert torch.get_num_threads() == 3
    assert {job.result()[1:] for job in met} == {(1, False)}
    assert len({job.result()[0] for job in met}) == 3


@pytest.mark.usefixtures("three_threads")
def test_a_job_may_wait_for_earlier_ones() -> None:
    with lanes():
        squares = [later(pow, i, 2) for i in range(50)]
        total = later(lambda: sum(square.result() for square in squares))
    assert total.result() == sum(i**2 for i in range(50))


def test_a_job_inside_a_job_is_done_there() -> None:
    with lanes():
        outer: Future[bool] = later(lambda: later(threading.get_ident).result() == threading.get_ident())
    assert outer.result()


@pytest.mark.usefixtures("three_threads")
def test_few_jobs_are_taken_ahead() -> None:
    gate, given = threading.Event(), []

    def giver() -> None:
        with lanes():
            for i in range(40):
                given.append(later(gate.wait, 20) and i)

    thread = threading.Thread(target=giver)
    thread.start()
    deadline = time.monotonic() + 20
    while len(given) < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # time for one too many
    ahead = len(given)
    gate.set()
    thread.join()
    assert (ahead, len(given)) == (9, 40)


@pytest.mark.usefixtures("three_threads")
def test_a_jobs_error_is_the_mergers() -> None:
    def fail() -> None:
        raise ValueError("no such tensor")

    begun = []

    def merge() -> None:
        with lanes():
            later(fail)
            for _ in range(1000):
                begun.append(later(time.sleep, 0.001))

    with pytest.raises(ValueError, match="no such tensor"):
        merge()
    assert len(begun) < 100
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_tensors_side_by_side_are_those_merged_one_by_one(name: str, gemma_dir: Path) -> None:
    bank, model = load_bank(gemma_dir), load_model(gemma_dir)
    count = DECLARATIONS[name].experts[1] or 3
    experts = {f"expert{i}": 0.3 for i in range(1, min(count, 3) + 1)}
    resolution = resolve(recipe_config(name, "base", experts), bank, model)
    one_by_one = dict(merge_tensors(bank, resolution))
    torch.set_num_threads(3)
    targets = resident_targets(model, bank.shapes)
    for _ in range(3):  # the threads' order differs
        write_targets(targets, bank, resolution)
        for tensor, target in targets.items():
            torch.testing.assert_close(target, one_by_one[tensor], rtol=0, atol=0)
        for target in targets.values():
            target.zero_()
