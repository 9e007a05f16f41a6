"""The grader's end of a sandbox's parsing process, which finds sources that don't parse without a process for each."""

import contextlib
import socket
from dataclasses import dataclass

from worker.grade.parsing import ANSWER, MAX_ANSWER, MAX_SOURCE
from worker.grade.sandbox import Sandbox

_ANSWER_S = 20.0  # of a busy machine: it ends by itself when it takes long


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a source does not parse: the name of the error, and the CPU seconds that it took to find."""

    name: str
    cpu_s: float


class Parser:
    """Asks a parsing process in a sandbox, started on first use and again after it ended. Not thread-safe."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._connection: socket.socket | None = None

    def refusal(self, source: str) -> Refusal | None:
        """Return why a source does not parse; None where it does, or only its own process can tell.

        Raises:
            OperatorError: the sandbox can't be started.
        """
        data = source.encode("utf-8", "surrogatepass")
        if not 0 < len(data) <= MAX_SOURCE:
            return None
        try:
            connection = self._connected()
            connection.send(data)
            answer = connection.recv(MAX_ANSWER)
        except OSError:
            answer = b""
        if len(answer) < ANSWER.size:
            self.close()
            return None
        (cpu_s,) = ANSWER.unpack_from(answer)
        name = answer[ANSWER.size :].decode("ascii", "replace")
        return Refusal(name, cpu_s) if name.isidentifier() else None

    def _connected(self) -> socket.socket:
        if self._connection is None:
            control = self._sandbox.start()
            self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._connection.settimeout(_ANSWER_S)
            with theirs:
                socket.send_fds(control, [b"parse"], [theirs.fileno()])
        return self._connection

    def close(self) -> None:
        """Let the process go; the sandbox ends it when it starts another, or ends itself."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None
