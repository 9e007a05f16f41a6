"""Measure a candidate on one slice: its recipe into the model, or each routed group's, then the items that it answers.

A method that routes prompts answers each group of items by a merge of its own; the outcomes come back as one
evaluation, in the items' order.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from core.types.evaluation import EvaluationCost, ItemOutcome
from core.types.recipe import Recipe
from worker.evaluate import Plan, Progress, evaluate
from worker.merge.bank import BASE
from worker.session import Resident, Session, Taught

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Subject:
    """What is measured: a recipe, the SoW's name of the base, and what a calibrated method may learn from."""

    recipe: Recipe
    base_name: str
    taught: Taught | None = None


@dataclass(frozen=True)
class Measured:
    """Every item's outcome, what it took, and the checksum of the weights (of all groups' where prompts are routed)."""

    outcomes: tuple[ItemOutcome, ...]
    cost: EvaluationCost
    checksum: str


def measure(session: Session, subject: Subject, plan: Plan, report: Report = lambda _: None) -> Measured:
    """Return the candidate's outcomes on the plan's items."""
    if not session.is_routed(subject.recipe):
        return measure_resident(session, session.put(subject.recipe, subject.base_name, subject.taught), plan, report)
    tokenizer = session.engine.tokenizer
    prompts = [torch.tensor(plan.protocol.prompt_ids(item, tokenizer)) for item in plan.items]
    groups, route_s = session.route(subject.recipe, subject.base_name, prompts)
    parts, found = [], dict[str, ItemOutcome]()
    for group in groups:
        config = dict(group.config)
        resident = session.put(Recipe(method=str(config["merge_method"]), config=config), BASE)
        own = replace(plan, items=tuple(plan.items[place] for place in group.prompts))
        parts.append(measure_resident(session, resident, own, report))
        found |= {outcome.item_id: outcome for outcome in parts[-1].outcomes}
    return Measured(
        tuple(found[item.item_id] for item in plan.items), _total(parts, route_s), "+".join(p.checksum for p in parts)
    )


def measure_resident(session: Session, resident: Resident, plan: Plan, report: Report = lambda _: None) -> Measured:
    """Return the outcomes of what is in the model."""
    outcomes, cost = evaluate(session.engine, plan, session.open_grader, report, session.grading_costs)
    return Measured(outcomes, cost.evolve(merge_s=resident.merge_s), resident.checksum)


def _total(parts: list[Measured], route_s: float) -> EvaluationCost:
    costs = [part.cost for part in parts]
    return EvaluationCost(
        merge_s=route_s + sum(c.merge_s for c in costs),
        generate_s=sum(c.generate_s for c in costs),
        grade_s=sum(c.grade_s for c in costs),
        tokens=sum(c.tokens for c in costs),
        items=sum(c.items for c in costs),
    )
