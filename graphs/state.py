"""What a run's graph remembers between its nodes: ids and small numbers, never tensors, papers or transcripts."""

import operator
from typing import Annotated, TypedDict


class RunState(TypedDict, total=False):
    """The checkpointed state. Lists with `add` are filled by nodes that run side by side."""

    candidates: list[str]
    reproductions: list[str]
    evaluated: Annotated[list[str], operator.add]
    leader: str
    finalists: list[str]
    confirmed: bool


class CandidateState(TypedDict):
    """What one branch of the fan-out gets."""

    candidate: str
