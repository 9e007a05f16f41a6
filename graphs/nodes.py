"""The nodes: each calls one agent function and returns a small update. Where they lead is in their return types."""

from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt

from agents.context import RunContext
from agents.experiment.agent import evaluate_candidate, plan_experiments, rank_candidates
from agents.experiment.beside import show_beside
from agents.experiment.reproductions import reproduce_candidate
from agents.optimizer.agent import optimize_leader
from agents.optimizer.confirm import confirm_finalists
from agents.report.agent import write_report
from agents.report.publish import publish_result
from agents.survey.stage import survey_task
from core.errors import RunCancelledError
from core.types.candidate import CandidateKind
from core.types.run import Stage
from core.types.sow import Gate
from graphs.state import CandidateState, RunState

REPRODUCTION = CandidateKind.REPRODUCTION


async def intake(_: RunState, runtime: Runtime[RunContext]) -> Command[Literal["survey"]]:
    """Record what the run sets out to do."""
    context = runtime.context
    sow = context.sow
    await context.journal.event(
        "run.started", sow.title, stage=Stage.INTAKE, task=sow.kind, model=context.brain.model, seed=sow.seed
    )
    return Command(goto="survey")


async def survey(_: RunState, runtime: Runtime[RunContext]) -> Command[Literal["approve_survey"]]:
    """Find and classify the works that bear on the task."""
    await survey_task(runtime.context)
    return Command(goto="approve_survey")


def approve_survey(_: RunState, runtime: Runtime[RunContext]) -> Command[Literal["experiment"]]:
    """Ask a person whether the survey will do, where the SoW wants it."""
    _ask(runtime.context, Gate.AFTER_SURVEY)
    return Command(goto="experiment")


async def experiment(_: RunState, runtime: Runtime[RunContext]) -> Command[Literal["approve_experiments"]]:
    """Decide what is tried: baselines, and every work's method that applies."""
    planned = await plan_experiments(runtime.context)
    offered = {kind: [c.id for c in planned if (c.kind is REPRODUCTION) is kind] for kind in (False, True)}
    update = {"candidates": offered[False], "reproductions": offered[True]}
    return Command(update=update, goto="approve_experiments")


def approve_experiments(
    state: RunState, runtime: Runtime[RunContext]
) -> Command[Literal["evaluate", "reproduce", "rank"]]:
    """Ask a person before compute is spent, where the SoW wants it; then try everything side by side."""
    _ask(runtime.context, Gate.BEFORE_EXPERIMENTS)
    branches = [Send("evaluate", CandidateState(candidate=c)) for c in state["candidates"]]
    branches += [Send("reproduce", CandidateState(candidate=c)) for c in state.get("reproductions", [])]
    return Command(goto=branches or "rank")


async def evaluate(state: CandidateState, runtime: Runtime[RunContext]) -> dict[str, list[str]]:
    """Evaluate one candidate on the screening slices; one that can't be evaluated is recorded and left out."""
    done = await evaluate_candidate(runtime.context, state["candidate"])
    return {"evaluated": [state["candidate"]] if done else []}


async def reproduce(state: CandidateState, runtime: Runtime[RunContext]) -> dict[str, list[str]]:
    """Reproduce one work in a sandbox and evaluate what is handed in; whatever happens, the work keeps its row."""
    done = await reproduce_candidate(runtime.context, state["candidate"])
    return {"evaluated": [state["candidate"]] if done else []}


async def rank(state: RunState, runtime: Runtime[RunContext]) -> Command[Literal["optimize"]]:
    """Rank what was evaluated."""
    leader = await rank_candidates(runtime.context, state.get("evaluated", []))
    return Command(update={"leader": leader}, goto="optimize")


async def optimize(state: RunState, runtime: Runtime[RunContext]) -> Command[Literal["confirm"]]:
    """Improve on the leader within the budget, on the search slices alone."""
    finalists = await optimize_leader(runtime.context, state["leader"])
    return Command(update={"finalists": finalists}, goto="confirm")


async def confirm(state: RunState, runtime: Runtime[RunContext]) -> Command[Literal["approve_publishing"]]:
    """Measure the finalists and the best baselines on items that nothing has seen."""
    confirmed = await confirm_finalists(runtime.context, state["finalists"])
    await show_beside(runtime.context)
    return Command(update={"confirmed": confirmed}, goto="approve_publishing")


def approve_publishing(_: RunState, runtime: Runtime[RunContext]) -> Command[Literal["publish"]]:
    """Ask a person before the result is made ready to publish, where the SoW wants it."""
    _ask(runtime.context, Gate.BEFORE_PUBLISHING)
    return Command(goto="publish")


async def publish(_: RunState, runtime: Runtime[RunContext]) -> Command[Literal["report"]]:
    """Export the winner where confirmation showed an improvement; upload it where that is set up."""
    await publish_result(runtime.context)
    return Command(goto="report")


async def report(_: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write the report, with every figure's data beside it."""
    await write_report(runtime.context)
    return {}


def _ask(context: RunContext, gate: Gate) -> None:
    """Stop here until a person has decided; a node starts again from its top afterwards."""
    if gate not in context.sow.approvals:
        return
    decision = interrupt({"gate": gate.value})
    if not (isinstance(decision, dict) and decision.get("approve") is True):
        raise RunCancelledError(f"Rejected at the gate {gate.value}.")
