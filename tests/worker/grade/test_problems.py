"""Benchmark files in their forms, and what is said of files that are none."""

import gzip
import json
from pathlib import Path

import pytest

from core.errors import InvalidInputError, NotFoundError
from worker.grade.mbpp_inputs import read_inputs
from worker.grade.problems import load_problems, problems_from_rows

ROW = {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n"}


def write(path: Path, *rows: object) -> Path:
    text = "".join(json.dumps(row) + "\n\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_forms(tmp_path: Path, name: str) -> None:
    rows = [
        {**ROW, "test": "def check(candidate): ..."},
        {**ROW, "task_id": "HumanEval/1", "base_input": [[1]], "plus_input": [[[2]]], "atol": 1e-6, "test": "x"},
        {**ROW, "task_id": "Mbpp/2", "base_input": [[[1, 2], [3]]], "plus_input": {}, "atol": 0},
        {**ROW, "task_id": "106", "base_input": [[[1], [3]]], "plus_input": []},
    ]
    found = load_problems(write(tmp_path / name, *rows))
    assert list(found) == ["HumanEval/0", "HumanEval/1", "Mbpp/2", "Mbpp/106"]
    assert found["HumanEval/0"].base_input == ()
    assert found["HumanEval/1"].plus_input == (([2],),)
    assert found["Mbpp/2"].base_input == (((1, 2), (3,)),)
    assert found["Mbpp/2"].test is None
    assert found["Mbpp/106"].base_input == (([1], (3,)),)
    assert found["Mbpp/2"].dataset == "mbpp"
    assert found["HumanEval/1"].reference == "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    ("task", "call", "read"),
    [
        (1, [[1]], ([1],)), (63, [[[1, 2]]], ([(1, 2)],)), (75, [[[1]], 2], ([(1,)], 2)), (115, [[[1, 1], []]], ([{1}, {}],)),  # noqa: E501
        (124, [1, "2j"], (1.0, 2j)), (252, ["1+2j"], (1 + 2j,)), (259, [[[1]], [[2]]], (((1,),), ((2,),))),
        (278, [[1, [2]]], ((1, (2,)),)), (307, [[1], 2, 3], ((1,), 2, 3)), (722, [{"a": [1]}, 2], ({"a": (1,)}, 2)),
        (580, [[1, [2, [3]]]], ((1, (2, (3,))),)),
    ],
)  # fmt: skip
def test_mbpp_inputs_get_their_types_back(task: int, call: list, read: tuple) -> None:
    assert read_inputs(f"Mbpp/{task}", [call]) == (read,)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"task_id": "a"}], "Problem 1 .* has no canonical_solution, entry_point, prompt"),
        ([ROW], "no test or base_input"),
        ([{**ROW, "test": ""}, {**ROW, "test": ""}], "comes twice"),
    ],
)
def test_rows_that_are_no_problems(rows: list[dict], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        problems_from_rows(rows)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.jsonl"):
        load_problems(tmp_path / "nothing.jsonl")
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(InvalidInputError, match=r"bad\.jsonl, line 1: not JSON"):
        load_problems(tmp_path / "bad.jsonl")
    with pytest.raises(InvalidInputError, match="line 1: not an object"):
        load_problems(write(tmp_path / "list.jsonl", [1]))
