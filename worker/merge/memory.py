"""Peak memory of a step (the GPU allocator's, or the process's resident set without a GPU), and what lowers it."""

import ctypes
import mmap
import sys
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_MAPS = Path("/proc/self/maps")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's names for them (glibc's malloc.h)
_KEPT = 64 << 20
_OF_A_CHUNK = 4 << 20  # the rows of up to seven experts


def reset_peak(device: torch.device) -> None:
    """Begin a new peak; on a kernel that forbids it the process's own peak so far stays counted."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_mb(device: torch.device) -> float:
    """Return the peak since `reset_peak`, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return _status_mb("VmHWM")


def resident_mb() -> float:
    """Return the process's resident set, in MB."""
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep up to 64 MB of freed memory for the next chunk; return whether it does (other C libraries don't).

    A merge frees and asks for the same few chunks thousands of times. By default each goes back to the kernel, and the
    page faults that follow cost a third of the processor time again (measured with one thread). Longer buffers, a whole
    tensor's, still go back at once.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _OF_A_CHUNK)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))


def return_freed_memory() -> None:
    """Give what `keep_freed_memory` kept back to the kernel, but for what other threads' arenas end with."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def mapped_from_files(tensors: Mapping[str, torch.Tensor]) -> frozenset[str]:
    """Return the names of the tensors that lie in files' mappings, so that their pages can be read again."""
    if not _MAPS.exists():
        return frozenset()
    mappings = []
    for line in _MAPS.read_text().splitlines():
        addresses, _, _, _, inode, *path = line.split(maxsplit=5)
        if inode != "0" and path and not path[0].startswith("/dev/"):
            first, _, end = addresses.partition("-")
            mappings.append((int(first, 16), int(end, 16)))

    def mapped(tensor: torch.Tensor) -> bool:
        place = tensor.data_ptr()
        at = bisect_right(mappings, (place, sys.maxsize)) - 1
        return at >= 0 and tensor.is_contiguous() and place + tensor.nbytes <= mappings[at][1]

    return frozenset(name for name, tensor in tensors.items() if mapped(tensor))


def let_go_of_pages(tensor: torch.Tensor) -> None:
    """Take a file-mapped tensor's whole pages out of the process's memory: they stay in the system's file cache.

    Only for what `mapped_from_files` names: other memory would be lost.
    """
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def host_memory_available() -> int:
    """Return the bytes of host memory that can be taken without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
