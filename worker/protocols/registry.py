"""All protocols that ship, by name. Importing this module registers them."""

from worker.protocols import answers, code
from worker.protocols.base import find_protocol

__all__ = ["answers", "code", "find_protocol"]
