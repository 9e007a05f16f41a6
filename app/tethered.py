"""`python -m app.tethered PARENT MODULE ARGUMENTS…`: become a module's process, and end when the parent does.

`up` starts its processes through this, so that none is left behind when `up` itself is killed. Where the kernel does
not offer it (it is Linux's), the process simply runs.
"""

import ctypes
import os
import signal
import sys
from typing import Never

PR_SET_PDEATHSIG = 1


def become(module: str, *arguments: str) -> Never:
    """Run a module in this process's place."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def main() -> None:
    """Tie this process to its parent, then run the module in its place."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit("the parent has ended")
    become(*sys.argv[2:])


if __name__ == "__main__":
    main()
