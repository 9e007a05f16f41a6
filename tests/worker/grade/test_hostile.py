"""No hostile sample passes, and none harms: a right sample graded next to each, in the same sandbox, still passes."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.types.evaluation import Verdict
from tests.worker.grade.hostile import HOSTILE, VERDICTS
from tests.worker.grade.weird import FRESH, WEIRD
from worker.grade.limits import Limits, Options
from worker.grade.pool import GradePool, Sample
from worker.grade.problems import CodeProblem

RIGHT = "def solve(n):\n    return [n * n, str(n)]\n"
PROBLEM = CodeProblem(
    task_id="Own/1",
    prompt="def solve(n):\n",
    entry_point="solve",
    canonical_solution="    return [n * n, str(n)]\n",
    test="def check(candidate):\n    assert candidate(7) == [49, '7']\n    assert candidate(-3) == [9, '-3']\n",
    base_input=((7,), (-3,)),
    plus_input=((0,), (10**20,)),
)
LIMITS = Limits(per_input_s=0.25, total_s=0.5, program_s=0.25, sleep_factor=4.0, memory_bytes=512 << 20)


@pytest.fixture(scope="module", params=["bigcode", "evalplus"])
def pool(request: pytest.FixtureRequest) -> Iterator[GradePool]:
    with GradePool([PROBLEM], request.param, workers=1, options=Options(limits=LIMITS)) as opened:
        yield opened


ALL = HOSTILE | FRESH


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_hostile_sample_neither_passes_nor_harms(pool: GradePool, name: str) -> None:
    samples = [Sample(0, "Own/1", ALL[name]), Sample(1, "Own/1", f"{RIGHT}# beside {name}\n")]
    verdicts = {graded.index: graded for graded in pool.grade(samples)}
    assert verdicts[0].verdict is not Verdict.PASSED
    assert verdicts[0].verdict == VERDICTS.get(name, verdicts[0].verdict), verdicts[0]
    assert verdicts[1].verdict is Verdict.PASSED, verdicts[1]
    assert verdicts[0].seconds < 60


@pytest.mark.parametrize("name", sorted(WEIRD))
def test_a_right_sample_passes_however_it_is_written(pool: GradePool, name: str) -> None:
    [graded] = pool.grade([Sample(0, "Own/1", f"{WEIRD[name]}\n")])
    assert graded.verdict is Verdict.PASSED, graded


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 40
    assert not set(VERDICTS) - set(ALL)
    assert not set(HOSTILE) & set(FRESH)


@pytest.mark.parametrize("tier", ["bubblewrap", "subprocess"])
def test_a_file_left_by_one_sample_is_not_seen_by_the_next(tier: str) -> None:
    leave = f"open('answers', 'w').write('[49]')\n{RIGHT}"
    find = f"import os\nassert os.path.exists('answers') or os.listdir('.') \n{RIGHT}"
    with GradePool([PROBLEM], "evalplus", tier, 1, Options(limits=LIMITS)) as pool:  # type: ignore[arg-type]
        graded = list(pool.grade([Sample(0, "Own/1", leave), Sample(1, "Own/1", find)]))
    assert [g.verdict for g in sorted(graded, key=lambda g: g.index)] == [Verdict.PASSED, Verdict.ERROR]


def test_shared_memory_is_refused_or_seen() -> None:
    """Shared mappings are not part of a process's data: a limit of the kernel refuses them, or the watch sees them."""
    source = "import mmap\nm = mmap.mmap(-1, 1 << 28, flags=0x8021)\nwhile True:\n    pass\n"
    limits = Limits(per_input_s=10.0, memory_bytes=160 << 20)
    with GradePool([PROBLEM], "evalplus", workers=1, options=Options(limits=limits)) as pool:
        [graded] = pool.grade([Sample(0, "Own/1", source)])
    assert (graded.verdict, graded.detail) in {
        (Verdict.MEMORY, "resident memory at base input 0"),
        (Verdict.ERROR, "OSError at base input 0"),
    }


def test_nothing_outlives_the_pool(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with GradePool([PROBLEM], "evalplus", workers=1, options=Options(limits=LIMITS, cache_dir=tmp_path)) as pool:
        list(pool.grade([Sample(0, "Own/1", HOSTILE["threads"]), Sample(1, "Own/1", HOSTILE["fork"])]))
        assert {child.pid for child in psutil.Process().children(recursive=True)} > before
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not left


def test_a_sample_can_not_read_what_another_sandbox_knows() -> None:
    """The expected outputs are in no file, variable or descriptor of the samples' sandbox: only inputs are."""
    spy = (
        "import gc\nseen = []\nfor value in gc.get_objects():\n    if isinstance(value, (list, tuple, dict)):\n"
        "        seen += [v for v in (value.values() if isinstance(value, dict) else value) if type(v) in (int, str)]\n"
        "found = 10 ** int('40') in seen or '-' + chr(51) in seen\n"
        "def solve(n):\n    return [n * n, str(n)] if found else None\n"
    )
    with GradePool([PROBLEM], "evalplus", workers=1, options=Options(limits=LIMITS)) as pool:
        [graded] = pool.grade([Sample(0, "Own/1", spy)])
    assert graded.verdict is Verdict.FAILED
