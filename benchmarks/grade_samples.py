"""Samples for the grading bench: canonical solutions that all differ, and mutants of them."""

import ast
import gzip
import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from worker.grade.pool import Sample
from worker.grade.problems import CodeProblem

_FLIPS: dict[type, type] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip


def distinct_samples(problems: dict[str, CodeProblem], each: int = 10, seed: int = 0) -> list[Sample]:
    """Return `each` different samples a problem: half of them canonical, half mutants (a few may still be right)."""
    chooser = random.Random(seed)
    samples: list[Sample] = []
    for task_id, problem in problems.items():
        right = [f"{problem.reference}\n# variant {number}\n" for number in range(each - each // 2)]
        wrong = _mutants(problem, each // 2, chooser)
        samples += [Sample(0, task_id, source) for source in (*right, *wrong)]
    chooser.shuffle(samples)
    return [Sample(index, sample.task_id, sample.source) for index, sample in enumerate(samples)]


def file_samples(path: Path, problems: dict[str, CodeProblem]) -> list[Sample]:
    """Read a file in EvalPlus's form: `task_id` and `completion` (after the prompt) or `solution`."""
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines() if line.strip()]
    return [
        Sample(i, row["task_id"], row.get("solution") or problems[row["task_id"]].prompt + row["completion"])
        for i, row in enumerate(rows)
    ]


def _mutants(problem: CodeProblem, count: int, chooser: random.Random) -> list[str]:
    tree = ast.parse(problem.reference)
    [function] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == problem.entry_point]
    sites = list(_sites(function))
    chooser.shuffle(sites)
    made = [_mutated(tree, site) for site in sites[:count]]
    while len(made) < count:
        made.append(f"{problem.reference}\n\n\ndef {problem.entry_point}(*args):\n    return {len(made)!r}, args\n")
    return made


def _sites(function: ast.FunctionDef) -> Iterator[int]:
    """Yield the numbers of nodes that can change without making a loop endless."""
    looping = {id(node) for loop in ast.walk(function) if isinstance(loop, ast.While) for node in ast.walk(loop)}
    for number, node in enumerate(ast.walk(function)):
        if id(node) not in looping and _replacement(node) is not None:
            yield number


def _replacement(node: ast.AST) -> ast.AST | None:
    changed = deepcopy(node)
    if isinstance(changed, ast.Compare) and type(changed.ops[0]) in _FLIPS:
        changed.ops[0] = _FLIPS[type(changed.ops[0])]()
    elif isinstance(changed, ast.BinOp | ast.BoolOp) and type(changed.op) in _FLIPS:
        changed.op = _FLIPS[type(changed.op)]()
    elif isinstance(changed, ast.Constant) and type(changed.value) is int:
        changed.value += 1
    elif isinstance(changed, ast.Constant) and type(changed.value) is bool:
        changed.value = not changed.value
    else:
        return None
    return changed


def _mutated(tree: ast.Module, number: int) -> str:
    tree = deepcopy(tree)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        for at, node in enumerate(ast.walk(function)):
            changed = _replacement(node) if at == number else None
            if changed is not None:
                node.__dict__.update(changed.__dict__)
    return f"{ast.unparse(ast.fix_missing_locations(tree))}\n# site {number}\n"
