"""The system calls that sandboxed code may make, as a classic BPF program.

Two filters: the server that forks (`SERVER`) and the process that runs a sample (`SAMPLE`), which may neither start
processes, signal others, open sockets, nor change anything outside its own memory and temporary directory.
Unlisted calls fail with EPERM. Not a filter of paths or sizes: the mount namespace and the resource limits are.
"""

import errno
import platform
import struct

from core.errors import OperatorError

# name -> (x86_64, aarch64); None where the architecture has no such call. Hot calls first: the filter is linear.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "write": (1, 64), "read": (0, 63), "setitimer": (38, 103), "mmap": (9, 222), "munmap": (11, 215),
    "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233), "mprotect": (10, 226), "futex": (202, 98),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "time": (201, None), "getitimer": (36, 102), "alarm": (37, None), "times": (100, 153),
    "getrusage": (98, 165), "open": (2, None), "openat": (257, 56), "close": (3, 57), "close_range": (436, 436),
    "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "statfs": (137, 43), "fstatfs": (138, 44), "lseek": (8, 62), "readv": (19, 65), "writev": (20, 66),
    "pread64": (17, 67), "pwrite64": (18, 68), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "readlink": (89, None), "readlinkat": (267, 78), "symlink": (88, None),
    "symlinkat": (266, 36), "ftruncate": (77, 46), "truncate": (76, 45), "fsync": (74, 82), "fdatasync": (75, 83),
    "flock": (73, 32), "umask": (95, 166), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None),
    "pipe2": (293, 59), "select": (23, None), "pselect6": (270, 72), "poll": (7, None), "ppoll": (271, 73),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getpid": (39, 172), "gettid": (186, 178),
    "getppid": (110, 173), "getpgrp": (111, None), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getrandom": (318, 278), "getrlimit": (97, 163), "uname": (63, 160), "sysinfo": (99, 179),
    "getcpu": (309, 168), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "rseq": (334, 293),
    "membarrier": (324, 283), "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_SERVER_CALLS: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "wait4": (61, 260),
    "waitid": (247, 95), "kill": (62, 129), "tgkill": (234, 131), "pidfd_open": (434, 434), "prctl": (157, 167),
    "arch_prctl": (158, None), "seccomp": (317, 277), "setrlimit": (160, 164), "prlimit64": (302, 261),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "sendto": (44, 206), "recvfrom": (45, 207), "shutdown": (48, 210),
    "getsockopt": (55, 209), "getsockname": (51, 204), "getpeername": (52, 205), "fcntl": (72, 25), "ioctl": (16, 29),
    "memfd_create": (319, 279), "mlock": (149, 228), "epoll_create1": (291, 20), "fadvise64": (221, 223),
}  # fmt: skip
# name -> numbers, index of the tested argument, its accepted values (None: see _guarded)
_GUARDED: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    "prlimit64": ((302, 261), 0, (0,)),  # only its own limits
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),  # no F_SETOWN: it sends signals to others
    "ioctl": ((16, 29), 1, (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)),  # is it a terminal, how much is there, flags
}
_CLONE = (56, 220)
_CLONE3 = 435
_CLONE_THREAD = 0x00010000
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _answer_if(number: int, answer: int) -> bytes:
    return _step(_EQUAL, number, 0, 1) + _step(_RETURN, answer)


def _guarded(number: int, argument: int, accepted: tuple[int, ...]) -> bytes:
    body = _step(_LOAD, _FIRST_ARGUMENT + 8 * argument)
    body += b"".join(_answer_if(value, _ALLOW) for value in accepted)
    body += _step(_RETURN, _ERRNO | errno.EPERM)
    return _step(_EQUAL, number, 0, len(body) // 8) + body


def _threads_only(number: int) -> bytes:
    body = _step(_LOAD, _FIRST_ARGUMENT) + _step(_ANY_BIT, _CLONE_THREAD, 0, 1) + _step(_RETURN, _ALLOW)
    body += _step(_RETURN, _ERRNO | errno.EPERM)
    return _step(_EQUAL, number, 0, len(body) // 8) + body


def _program(calls: dict[str, tuple[int | None, int | None]], guards: bytes, machine: str) -> bytes:
    column, arch = _ARCHITECTURES[machine]
    numbers = [both[column] for both in calls.values()]
    head = _step(_LOAD, _ARCH) + _step(_EQUAL, arch, 1, 0) + _step(_RETURN, _KILL) + _step(_LOAD, _NUMBER)
    x32 = _step(_AT_LEAST, 0x40000000, 0, 1) + _step(_RETURN, _KILL)
    allowed = b"".join(_answer_if(number, _ALLOW) for number in numbers if number is not None)
    # glibc starts threads by clone3 and falls back to clone, whose flags a filter can read.
    return head + x32 + allowed + _answer_if(_CLONE3, _ERRNO | errno.ENOSYS) + guards


def sample_filter(machine: str | None = None) -> bytes:
    """Return the filter of a process that runs a sample.

    Raises:
        OperatorError: this processor architecture is not known.
    """
    column = _ARCHITECTURES[_known(machine)][0]
    guards = b"".join(_guarded(both[column], at, values) for both, at, values in _GUARDED.values())
    guards += _threads_only(_CLONE[column]) + _step(_RETURN, _ERRNO | errno.EPERM)
    return _program(_CALLS, guards, _known(machine))


def server_filter(machine: str | None = None) -> bytes:
    """Return the filter of the server, which also forks, waits and installs the samples' filter."""
    return _program(_CALLS | _SERVER_CALLS, _step(_RETURN, _ERRNO | errno.EPERM), _known(machine))


def _known(machine: str | None) -> str:
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise OperatorError(
            f"No system call filter is known for {machine}.", fix="Grade on x86_64 or aarch64 under Linux."
        )
    return machine
