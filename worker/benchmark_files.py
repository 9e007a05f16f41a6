"""Where the known benchmarks' files are on this machine: under the names that their makers give them.

A name stands for what its protocol needs: `humanevalplus` is EvalPlus's release for `evalplus`, and its export in the
original format (all inputs inside `test`) for `bigcode`, as on the hub.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import InvalidInputError, NotFoundError, SourceError
from worker.benchmark import KNOWN, Hub, load_items
from worker.grade.problems import CodeProblem
from worker.items import Slice, parse_split
from worker.protocols.item import Instruction, Item, Question

_END = r"(-v[\d.]+)?\.jsonl(\.gz)?"
_FILES = {
    ("humanevalplus", "bigcode"): "humanevalplus-originfmt" + _END,
    ("humanevalplus", "evalplus"): "humanevalplus" + _END,
    ("mbppplus", "evalplus"): "mbppplus" + _END,
    ("gsm8k", "exact_match"): r"gsm8k[-_]{split}" + _END,
    ("humaneval", "bigcode"): "humaneval" + _END,
}
# Looked through when the hub can't be reached: here, and where EvalPlus keeps what it has downloaded.
NEARBY = (Path(), Path("data"), Path.home() / ".cache" / "evalplus")


@dataclass(frozen=True, slots=True)
class Found:
    """A benchmark's items, the protocol they are graded by, and where they came from."""

    items: tuple[Item, ...]
    protocol: str
    source: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which benchmark: its name, hub id or file; the protocol, or None for the benchmark's own; the slice of it.

    `data` is a file that holds it, or a folder of such files.
    """

    name: str
    protocol: str | None = None
    part: Slice = field(default_factory=Slice)
    data: Path | None = None


def find_items(wanted: Wanted, hub: Hub, nearby: Sequence[Path] = NEARBY) -> Found:
    """Return the items of a benchmark: from `data`, else from a file or the hub, else from a file nearby.

    Raises:
        NotFoundError: `data` does not hold it, or there is no such benchmark, split or item.
        InvalidInputError: a row is none of the known kinds.
        SourceError: the hub does not answer and no file is nearby.
    """
    short = next((short for short, dataset in KNOWN.items() if dataset == wanted.name), wanted.name)
    protocol = wanted.protocol or next((p for name, p in _FILES if name == short), None)
    wanted = Wanted(short, protocol, wanted.part, wanted.data)
    if wanted.data is not None and wanted.data.is_file():
        return _from_file(wanted, wanted.data)
    if wanted.data is not None and wanted.name in KNOWN:
        path = _file_in([wanted.data], wanted)
        if path is None:
            raise NotFoundError(f"{wanted.data} holds no file of {wanted.name}.", fix=_names(wanted))
        return _from_file(wanted, path)
    try:
        items = load_items(wanted.name, wanted.part, hub)
    except SourceError as error:
        path = _file_in(nearby, wanted)
        if path is None:
            raise SourceError(
                f"{error.message} No file of it is nearby either.", fix=f"{_names(wanted)} Give its folder by --data."
            ) from error
        return _from_file(wanted, path)
    return Found(items, protocol or own_protocol(items), wanted.name)


def own_protocol(items: Sequence[Item]) -> str:
    """Return the protocol that fits the items: the one that uses all that is known of the first."""
    match items[0].task:
        case CodeProblem(base_input=inputs, test=test):
            return "evalplus" if inputs or test is None else "bigcode"
        case Question():
            return "exact_match"
        case Instruction():
            return "constraint_match"


def _from_file(wanted: Wanted, path: Path) -> Found:
    part = wanted.part
    if wanted.name == "gsm8k":  # its splits are files of their own, whose rows don't name them
        _, low, high = parse_split(part.split)
        span = f"[{'' if low is None else low}:{'' if high is None else high}]"
        part = Slice(span, part.limit, part.item_ids)
    items = load_items(str(path.resolve()), part)
    return Found(items, wanted.protocol or own_protocol(items), str(path))


def _file_in(folders: Sequence[Path], wanted: Wanted) -> Path | None:
    pattern = re.compile(_pattern(wanted), re.IGNORECASE)
    return next((path for path in _files(folders) if pattern.fullmatch(path.name)), None)


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.is_file())


def _pattern(wanted: Wanted) -> str:
    pattern = _FILES.get((wanted.name, wanted.protocol or ""))
    if pattern is None:
        kinds = ", ".join(protocol for name, protocol in _FILES if name == wanted.name)
        raise InvalidInputError(
            f"{wanted.name} has no protocol {wanted.protocol!r}.",
            fix=f"Protocols: {kinds}." if kinds else "Give a file.",
        )
    return pattern.replace("{split}", re.escape(parse_split(wanted.part.split)[0] or "test"))


def _names(wanted: Wanted) -> str:
    example = {
        ("humanevalplus", "bigcode"): "HumanEvalPlus-OriginFmt.jsonl.gz",
        ("humanevalplus", "evalplus"): "HumanEvalPlus.jsonl.gz",
        ("mbppplus", "evalplus"): "MbppPlus.jsonl.gz",
        ("gsm8k", "exact_match"): "gsm8k-test.jsonl.gz",
        ("humaneval", "bigcode"): "HumanEval.jsonl.gz",
    }.get((wanted.name, wanted.protocol or ""))
    if example is None:
        return "Check the network and HF_ENDPOINT, or name a local file."
    return f"For {wanted.protocol} the file is called {example} (gzipped or not)."
