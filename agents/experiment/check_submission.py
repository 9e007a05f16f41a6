"""What a submission must look like, checked with the standard library alone: `python3 check` in the sandbox runs this.

The service imports the same functions, so an agent is told beforehand what it would be refused for. It looks at form:
files, headers, shapes, sizes, syntax. Values and origin are looked at outside (submission.py); nothing is executed.
"""

import ast
import json
import math
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KINDS = {"recipe.yaml": "recipe", "method.py": "method", "weights": "weights"}
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
MAX_HEADER = 50_000_000
MAX_TEXT = 200_000
MAX_FILES = 200


def problems(folder: Path, contract: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the form of a submission; an empty list when nothing is."""
    if not folder.is_dir() or folder.is_symlink():
        return ["There is no folder submission/."]
    found = list(_stray(folder, contract))
    if found:
        return found
    kinds = [name for name in KINDS if (folder / name).exists()]
    if len(kinds) != 1:
        return [f"Hand in exactly one of {', '.join(KINDS)}; there is {', '.join(kinds) or 'none'}."]
    if not (folder / "notes.md").is_file():
        found.append("notes.md is missing: say what you did and what deviates from the work.")
    check = {"recipe.yaml": _recipe, "method.py": _method, "weights": _weights}[kinds[0]]
    return [*found, *check(folder / kinds[0], contract)]


def safetensors_header(file: Path) -> dict[str, dict[str, Any]]:
    """Return name -> dtype, shape and place of each tensor of a safetensors file; raise ValueError when it is none."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError("it has no header")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    header.pop("__metadata__", None)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if entry["dtype"] not in BYTES:
            raise ValueError(f"{name} has dtype {entry['dtype']}; {', '.join(BYTES)} are allowed")
        if start != end or stop - start != math.prod(entry["shape"]) * BYTES[entry["dtype"]]:
            raise ValueError(f"{name} does not lie where its shape says")
        end = stop
        entry["file"], entry["start"] = str(file), 8 + length + start
    if 8 + length + end != size:
        raise ValueError("it is cut off or has bytes that belong to no tensor")
    return header


def checkpoint_header(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the tensors of all safetensors files of a folder; raise ValueError."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            header = safetensors_header(file)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file.name} is not a safetensors file: {error}") from error
        twice = sorted(found.keys() & header.keys())
        if twice:
            raise ValueError(f"{twice[0]} is in two files")
        found |= header
    return found


def _stray(folder: Path, contract: Mapping[str, Any]) -> Iterator[str]:
    total = count = 0
    for where, folders, names in os.walk(folder, followlinks=False):
        for name in (*folders, *names):
            path = Path(where) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                yield f"{path.relative_to(folder)} is a link or no plain file."
        total += sum((Path(where) / n).lstat().st_size for n in names)
        count += len(names)
    if count > MAX_FILES:
        yield f"There are {count} files; {MAX_FILES} are allowed."
    if total > contract["max_bytes"]:
        yield f"The submission has {total} bytes; {contract['max_bytes']} are allowed."


def _text(file: Path) -> str:
    if file.stat().st_size > MAX_TEXT:
        raise ValueError(f"{file.name} has more than {MAX_TEXT} bytes.")
    return file.read_text(encoding="utf-8")


def _recipe(file: Path, contract: Mapping[str, Any]) -> Iterator[str]:
    try:
        text = _text(file)
    except ValueError as error:
        yield f"recipe.yaml can't be read: {error}"
        return
    if "merge_method" not in text:
        yield "recipe.yaml has no merge_method: hand in a mergekit configuration."
    if not any(name in text for name in contract["models"]):
        yield f"recipe.yaml names none of the models {', '.join(contract['models'])}."


def _method(file: Path, _: Mapping[str, Any]) -> Iterator[str]:
    try:
        tree = ast.parse(_text(file))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        yield f"method.py can't be parsed: {error}"
        return
    merges = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "merge"]
    if not merges:
        yield "method.py defines no function merge(base, experts, **parameters)."
    elif len(merges[0].args.posonlyargs + merges[0].args.args) < 2:
        yield "merge must take base and experts."


def _weights(folder: Path, contract: Mapping[str, Any]) -> Iterator[str]:
    try:
        header = checkpoint_header(folder)
    except (ValueError, OSError) as error:
        yield f"weights/: {error}"
        return
    wanted = contract["tensors"]
    for name in sorted(wanted.keys() - header.keys())[:5]:
        yield f"weights/: {name} is missing."
    for name in sorted(header.keys() - wanted.keys())[:5]:
        yield f"weights/: {name} is not a tensor of the base."
    for name in sorted(wanted.keys() & header.keys()):
        if list(header[name]["shape"]) != list(wanted[name]):
            yield f"weights/: {name} has shape {header[name]['shape']}, the base has {wanted[name]}."


def main() -> int:
    """Check ./submission against ./contract.json and say what is wrong."""
    found = problems(Path("submission"), json.loads(Path("contract.json").read_text()))
    sys.stdout.write("".join(f"- {p}\n" for p in found) or "The form of the submission is fine.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
