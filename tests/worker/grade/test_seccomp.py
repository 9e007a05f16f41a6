"""The system call filters, run by a small interpreter of classic BPF."""

import errno
import struct

import pytest

from core.errors import OperatorError
from worker.grade.seccomp import sample_filter, server_filter

ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY = 0x00050000 | errno.EPERM
NOT_THERE = 0x00050000 | errno.ENOSYS
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def answer(program: bytes, arch: int, number: int, *arguments: int) -> int:
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    steps = list(struct.iter_unpack("<HBBI", program))
    at = register = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            (register,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return value
        else:
            holds = {0x15: register == value, 0x35: register >= value, 0x45: bool(register & value)}[code]
            at += yes if holds else no


@pytest.mark.parametrize(("machine", "write", "openat"), [("x86_64", 1, 257), ("aarch64", 64, 56)])
def test_ordinary_calls_are_allowed(machine: str, write: int, openat: int) -> None:
    for program in (sample_filter(machine), server_filter(machine)):
        assert answer(program, ARCH[machine], write) == ALLOW
        assert answer(program, ARCH[machine], openat) == ALLOW


@pytest.mark.parametrize(
    ("machine", "numbers"),
    [
        # fork, vfork, execve, kill, tkill, tgkill, socket, connect, ptrace, mount, unshare, setns, bpf, keyctl, io_uring,  # noqa: E501
        # process_vm_readv, userfaultfd, perf_event_open, pidfd_send_signal, execveat, memfd_create, shmget, chroot
        ("x86_64", (57, 58, 59, 62, 200, 234, 41, 42, 101, 165, 272, 308, 321, 250, 425, 310, 323, 298, 424, 322, 319, 29, 161)),  # noqa: E501
        # execve, kill, tkill, tgkill, socket, connect, ptrace, mount, unshare, setns, bpf, keyctl, io_uring,
        # process_vm_readv, execveat
        ("aarch64", (221, 129, 130, 131, 198, 203, 117, 40, 97, 268, 280, 219, 425, 270, 281)),
    ],
)  # fmt: skip
def test_a_sample_may_not(machine: str, numbers: tuple[int, ...]) -> None:
    program = sample_filter(machine)
    assert {answer(program, ARCH[machine], number) for number in numbers} == {DENY}


@pytest.mark.parametrize(("machine", "clone", "fcntl", "prlimit"), [("x86_64", 56, 72, 302), ("aarch64", 220, 25, 261)])
def test_arguments_decide(machine: str, clone: int, fcntl: int, prlimit: int) -> None:
    program, arch = sample_filter(machine), ARCH[machine]
    assert answer(program, arch, clone, 0x3D0F00) == ALLOW  # a thread, as glibc starts it
    assert answer(program, arch, clone, 17) == DENY  # a process
    assert answer(program, arch, fcntl, 3, 1) == ALLOW
    assert answer(program, arch, fcntl, 3, 8) == DENY  # F_SETOWN
    assert answer(program, arch, prlimit, 0, 7) == ALLOW
    assert answer(program, arch, prlimit, 2, 7) == DENY
    assert answer(program, arch, 435) == NOT_THERE


def test_another_architecture_is_killed() -> None:
    assert answer(sample_filter("x86_64"), 0x40000003, 1) == KILL
    assert answer(sample_filter("x86_64"), ARCH["x86_64"], 0x40000001) == KILL


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(OperatorError, match="riscv64"):
        sample_filter("riscv64")
