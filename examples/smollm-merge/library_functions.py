"""Short documented functions of permissively licensed installed packages, as extra training text for the code expert.

Only their count, names and hashes are committed (`decontamination.json`), never the functions themselves.
The selection depends on the installed versions, which the report records.
"""

import ast
import builtins
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# package -> (distribution, licence as its metadata states it)
SOURCES = {
    "more_itertools": ("more-itertools", "MIT"),
    "networkx": ("networkx", "BSD-3-Clause"),
    "sympy": ("sympy", "BSD-3-Clause"),
    "numpy": ("numpy", "BSD-3-Clause"),
    "scipy": ("scipy", "BSD-3-Clause"),
    "sklearn": ("scikit-learn", "BSD-3-Clause"),
    "jinja2": ("jinja2", "BSD-3-Clause"),
    "httpx": ("httpx", "BSD-3-Clause"),
    "starlette": ("starlette", "BSD-3-Clause"),
    "statsmodels": ("statsmodels", "BSD-3-Clause"),
}
MAX_BODY_LINES = 4
MAX_BODY_CHARACTERS = 200
MAX_DOC_CHARACTERS = 90
Item = dict[str, Any]


def training() -> list[Item]:
    """Return the short functions of every installed source, sorted and without repetition."""
    items: dict[str, Item] = {}
    for package in SOURCES:
        spec = importlib.util.find_spec(package)
        for root in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(root).rglob("*.py")):
                if "test" not in path.as_posix().removeprefix(root):
                    items |= {item["prompt"]: item for item in functions_of(path, package)}
    return [items[prompt] for prompt in sorted(items)]


def functions_of(path: Path, package: str) -> Iterator[Item]:
    """Yield the module-level functions that are short, documented and undecorated."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list and not node.name.startswith("_"):
            item = _item(node, package)
            if item:
                yield item


def _item(node: ast.FunctionDef, package: str) -> Item | None:
    doc = (ast.get_docstring(node) or "").split("\n")[0].strip()
    arguments = [a.arg for a in node.args.args]
    plain = not (node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.defaults)
    body = "\n".join(f"    {line}" for part in node.body[1:] for line in ast.unparse(part).splitlines())
    fits = body.count("\n") < MAX_BODY_LINES and len(body) <= MAX_BODY_CHARACTERS and "return" in body
    if not (
        plain
        and fits
        and _self_contained(node)
        and doc.endswith(".")
        and doc.isascii()
        and len(doc) <= MAX_DOC_CHARACTERS
    ):
        return None
    prompt = f'def {node.name}({", ".join(arguments)}):\n    """{doc}"""\n'
    return {
        "prompt": prompt,
        "entry_point": node.name,
        "canonical_solution": f"{body}\n",
        "family": f"library/{package}",
    }


def _self_contained(node: ast.FunctionDef) -> bool:
    """Say if a function uses nothing but its arguments, its own variables and Python's built-in names."""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    own = {n.id for n in names if isinstance(n.ctx, ast.Store)} | {
        a.arg for a in ast.walk(node) if isinstance(a, ast.arg)
    }
    return all(n.id in own or hasattr(builtins, n.id) for n in names)


def provenance(items: list[Item]) -> list[Item]:
    """Describe the sources used: licence, version, names and hashes of what was taken."""
    found = []
    for package, (distribution, licence) in SOURCES.items():
        taken = [item for item in items if item["family"] == f"library/{package}"]
        if taken:
            found.append(
                {
                    "package": distribution,
                    "version": importlib.metadata.version(distribution),
                    "licence": licence,
                    "functions": {item["entry_point"]: _digest(item) for item in taken},
                }
            )
    return found


def _digest(item: Item) -> str:
    return hashlib.sha256((item["prompt"] + item["canonical_solution"]).encode()).hexdigest()[:12]
