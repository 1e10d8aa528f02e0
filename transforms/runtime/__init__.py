"""The process that runs: its terminal, its standard error, its children, the cores that it may use."""

import os


def cores() -> int:
    """Return the number of processors that this process may use; all of the machine's where that is unknown (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
