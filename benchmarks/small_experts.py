"""The real half's evaluator: the three small experts of examples/smollm-merge, merged in memory, generated, graded.

Needs torch, transformers and the checkpoint of the base (examples/smollm-merge/base.py makes it); neither mergekit nor
the database. All items of a role are generated in one batch, so that a recipe's outcomes never depend on the caller.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agents.optimizer.racing import Key
from core.types.evaluation import Verdict
from core.types.recipe import Recipe
from core.types.sow import Benchmark, Models
from worker.benchmark import load_items
from worker.generate.port import Draw, EngineOptions, GenerationRequest
from worker.generate.transformers_engine import TransformersEngine
from worker.grade.pool import GradePool, Sample
from worker.grade.problems import CodeProblem
from worker.grade.tiers import Tier, available_tiers
from worker.items import Slice
from worker.merge.apply import merge_into
from worker.merge.bank import ExpertBank, ModelRef
from worker.protocols.base import AnswerProtocol, CodeProtocol
from worker.protocols.item import Item
from worker.protocols.registry import find_protocol

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "smollm-merge"


@dataclass(frozen=True)
class Machine:
    """Where the base lies, what computes, who grades, and how many items a benchmark is cut to (None: all)."""

    base: Path
    dtype: str | None = None
    tier: Tier | None = None
    graders: int = 2
    limit: int | None = None


@dataclass(frozen=True)
class Slot:
    """One item under its benchmark's protocol."""

    benchmark: Benchmark
    item: Item


class SmallExperts:
    """Scores recipes on the example's search and confirm items. Use `open_experts`."""

    def __init__(self, engine: TransformersEngine, bank: ExpertBank, grader: GradePool, limit: int | None) -> None:
        self._engine, self._bank, self._grader = engine, bank, grader
        self.models = Models.model_validate(_sow()["models"])
        self._slots = {role: read_slots(role, limit) for role in ("search", "confirm")}
        self._requests = {role: [self._request(s) for s in slots] for role, slots in self._slots.items()}

    def items(self, role: str) -> Mapping[str, Sequence[str]]:
        """Return item ids by skill."""
        return item_ids(self._slots[role])

    def evaluate(self, recipe: Recipe, role: str) -> Mapping[Key, float]:
        """Merge, generate and grade."""
        merge_into(self._engine.model, self._bank, recipe)
        self._engine.weights_changed()
        slots = {slot.item.item_id: slot for slot in self._slots[role]}
        texts = {c.item_id: c.text for c in self._engine.generate(self._requests[role])}
        passed = self._verdicts(slots, texts)
        return {(slot.benchmark.column, name): float(passed[name]) for name, slot in slots.items()}

    def _request(self, slot: Slot) -> GenerationRequest:
        protocol, drawn, engine = find_protocol(slot.benchmark.protocol), slot.benchmark.sampling, self._engine
        ids = protocol.prompt_ids(slot.item, engine.tokenizer)
        stop = protocol.stop_rule(engine.tokenizer, engine.eos_ids)
        draw = Draw(drawn.temperature, drawn.top_p, drawn.max_length, drawn.max_new_tokens)
        return GenerationRequest(slot.item.item_id, 0, ids, draw, stop, drawn.seed)

    def _verdicts(self, slots: Mapping[str, Slot], texts: Mapping[str, str]) -> dict[str, bool]:
        passed, programs = {}, []
        for name, slot in slots.items():
            protocol = find_protocol(slot.benchmark.protocol)
            if isinstance(protocol, CodeProtocol):
                programs.append((name, protocol.program(slot.item, texts[name])))
            elif isinstance(protocol, AnswerProtocol):
                passed[name] = protocol.judge(slot.item, texts[name])[0] is Verdict.PASSED
        samples = [Sample(i, name, source) for i, (name, source) in enumerate(programs)]
        for graded in self._grader.grade(samples):
            passed[programs[graded.index][0]] = graded.verdict is Verdict.PASSED
        return passed


@contextmanager
def open_experts(machine: Machine) -> Iterator[SmallExperts]:
    """Load the experts and start the graders; the strictest sandbox that works here unless one is named."""
    base = str(machine.base)
    experts = {e["name"]: ModelRef(base, str(EXAMPLE / e["adapter"])) for e in _sow()["models"]["experts"]}
    bank = ExpertBank.load(ModelRef(base), experts)
    engine = TransformersEngine.load(base, EngineOptions(dtype=machine.dtype))
    slots = [s for role in ("search", "confirm") for s in read_slots(role, machine.limit)]
    problems = [s.item.task for s in slots if isinstance(s.item.task, CodeProblem)]
    with GradePool(problems, "bigcode", machine.tier or grading_tier(), machine.graders) as grader:
        yield SmallExperts(engine, bank, grader, machine.limit)


def grading_tier() -> Tier:
    """Return the strictest sandbox that works here without an image."""
    return "subprocess" if available_tiers()["bubblewrap"] else "bubblewrap"


def read_slots(role: str, limit: int | None = None) -> tuple[Slot, ...]:
    """Return all items of a role under the example's protocols; its own limits, made for a laptop, don't count."""
    slots = []
    for row in _sow()["benchmarks"]:
        benchmark = Benchmark.model_validate(row)
        if benchmark.role.value == role:
            found = load_items(benchmark.dataset, Slice(benchmark.split, limit), root=EXAMPLE)
            slots += [Slot(benchmark, item) for item in found]
    return tuple(slots)


def item_ids(slots: Sequence[Slot]) -> dict[str, tuple[str, ...]]:
    """Return the ids of items by skill, in order."""
    found: dict[str, list[str]] = {}
    for slot in slots:
        found.setdefault(slot.benchmark.column, []).append(slot.item.item_id)
    return {skill: tuple(ids) for skill, ids in found.items()}


def _sow() -> dict[str, Any]:
    sow: dict[str, Any] = yaml.safe_load((EXAMPLE / "sow.yaml").read_text(encoding="utf-8"))
    return sow
