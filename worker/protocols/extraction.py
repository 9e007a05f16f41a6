"""Find the code in a model's answer by parsing it: the longest run of whole lines that is Python and defines a name.

Parses only: nothing is imported or run. Text that Python's parser refuses for its depth counts as no code.
"""

import ast
import warnings
from collections.abc import Iterator

_MAX_LINES = 1000
# A hostile answer must not keep the parser busy: real ones take a few tries.
_MAX_PARSES = 200


def longest_definition(text: str, name: str) -> str | None:
    """Return the longest run of lines that parses and defines `name` at its top level, or None."""
    lines = text.splitlines()[:_MAX_LINES]
    best: list[str] = []
    tries = iter(range(_MAX_PARSES))
    for start, line in enumerate(lines):
        if len(lines) - start <= len(best):
            break
        if not line.strip() or line[0].isspace():
            continue
        block = _longest_parse(lines[start:], name, tries)
        if len(block) > len(best):
            best = block
    return "\n".join(best).rstrip() + "\n" if best else None


def _longest_parse(lines: list[str], name: str, tries: Iterator[int]) -> list[str]:
    """Return the longest beginning of `lines` that parses, if it defines `name`; shorten to each error's line."""
    while lines and next(tries, None) is not None:
        tree, error_line = _parse("\n".join(lines))
        if tree is not None:
            return lines if _defines(tree, name) else []
        lines = lines[: min(error_line - 1, len(lines) - 1)] if error_line > 1 else lines[:-1]
    return []


def _parse(source: str) -> tuple[ast.Module | None, int]:
    """Return the tree, or None and the line to cut at (0: unknown)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source), 0
    except SyntaxError as error:
        return None, error.lineno or 0
    except (ValueError, RecursionError, MemoryError):
        return None, 0


def _defines(tree: ast.Module, name: str) -> bool:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return True
    return False
