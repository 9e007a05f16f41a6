"""Which device a worker computes on, told without importing torch: the worker's own process stays small."""

from pathlib import Path


def device_name(wanted: str) -> str:
    """Return a torch device's name; `auto` is the first NVIDIA GPU where the driver shows one."""
    if wanted != "auto":
        return wanted
    return "cuda" if Path("/dev/nvidia0").exists() and Path("/dev/nvidiactl").exists() else "cpu"
