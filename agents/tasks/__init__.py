"""Task packs: what a kind of task can try, and how it is evaluated. `task_pack` finds one by the SoW's kind."""

from agents.tasks.command import CommandPack
from agents.tasks.merge import MergePack
from agents.tasks.port import TaskPack

PACKS: dict[str, TaskPack] = {"merge": MergePack(), "command": CommandPack()}


def task_pack(kind: str) -> TaskPack:
    """Return the pack of a kind; kinds are a closed set that the SoW's schema holds."""
    return PACKS[kind]
