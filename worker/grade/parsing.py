"""The parsing process inside the sandbox: says of one source after another whether it parses, and runs none of them.

A source that does not parse needs no process of its own, which costs many times what parsing does. Only a plain syntax
error is an answer that counts. A source that takes much time or memory, nests too deep or crashes the parser ends this
process without an answer; the sample's own process then finds out. It is replaced after some sources in any case.
"""

import os
import resource
import signal
import struct
import time
import warnings

ANSWER = struct.Struct("<d")  # CPU seconds; the name of the error follows, if there is one
MAX_SOURCE = 1 << 16  # bytes: a longer one is left to its own process
MAX_ANSWER = 256
MEMORY_BYTES = 256 << 20
CPU_S = 60
_SOURCE_S = 0.25  # CPU seconds of one source
_SOURCES = 100
_GROWTH_KB = 32 << 10


def parse_sources(fd: int) -> None:
    """Read sources and write answers until one is not plain, or enough were read."""
    warnings.simplefilter("ignore")
    most_kb = _peak_kb() + _GROWTH_KB
    for _ in range(_SOURCES):
        source = os.read(fd, MAX_SOURCE)
        if not source:
            return
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, _SOURCE_S)
        name = _trouble(source.decode("utf-8", "surrogatepass"))
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        if _peak_kb() > most_kb:
            return
        os.write(fd, ANSWER.pack(time.process_time() - started) + name.encode())


def _trouble(source: str) -> str:
    """Return the name of the error in a source, or nothing; running out of stack or memory is raised."""
    try:
        compile(source, "<sample>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError) as error:
        return type(error).__name__
    return ""


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
