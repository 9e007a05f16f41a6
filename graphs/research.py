"""The wiring: intake → survey → experiment → optimize → confirm → report, with gates and one fan-out."""

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from agents.context import RunContext
from core.types.run import Stage
from graphs import nodes
from graphs.state import RunState

# The stage that a reader of the run sees while a node works.
STAGE_OF_NODE = {
    "intake": Stage.INTAKE,
    "survey": Stage.SURVEY,
    "approve_survey": Stage.SURVEY,
    "experiment": Stage.EXPERIMENT,
    "approve_experiments": Stage.EXPERIMENT,
    "evaluate": Stage.EXPERIMENT,
    "reproduce": Stage.EXPERIMENT,
    "rank": Stage.EXPERIMENT,
    "optimize": Stage.OPTIMIZE,
    "confirm": Stage.CONFIRM,
    "approve_publishing": Stage.CONFIRM,
    "publish": Stage.REPORT,
    "report": Stage.REPORT,
}


def research_graph() -> StateGraph[RunState, RunContext, RunState, RunState]:
    """Return the uncompiled graph."""
    graph = StateGraph(RunState, context_schema=RunContext)
    for name in STAGE_OF_NODE:
        graph.add_node(name, getattr(nodes, name))
    graph.add_edge(START, "intake")
    graph.add_edge("evaluate", "rank")
    graph.add_edge("reproduce", "rank")
    graph.add_edge("report", END)
    return graph


def compile_research(saver: BaseCheckpointSaver) -> CompiledStateGraph[RunState, RunContext, RunState, RunState]:
    """Return the graph ready to run, with its checkpoints in `saver`."""
    return research_graph().compile(checkpointer=saver, name="research")
