"""The identity of processes: whether the one that made a file or holds a lease still runs."""

import contextlib
import os
import socket
from typing import Any


def identity() -> dict[str, Any]:
    """Return what identifies this process among all others, at any time and on any machine."""
    return place() | {"pid": os.getpid(), "started": started(os.getpid())}


def is_here(other: dict[str, Any]) -> bool:
    """Return whether an identity is of a process of this machine (or container), running or not."""
    return {key: other.get(key) for key in place()} == place()


def is_alive(other: dict[str, Any]) -> bool:
    """Return whether the process of an identity that `is_here` is running."""
    pid = other.get("pid")
    return isinstance(pid, int) and is_running(pid) and other.get("started") == started(pid)


def is_running(pid: int) -> bool:
    """Return whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def place() -> dict[str, str]:
    """Return what identifies this machine, its start and, in a container, the container."""
    space = boot = ""
    with contextlib.suppress(OSError):  # only Linux has name spaces, and there containers may share a host name
        space = os.readlink("/proc/self/ns/pid")
    # Machines made from one image may share their name and the number of their first name space.
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return {"host": socket.gethostname(), "space": space, "boot": boot}


def started(pid: int) -> int:
    """Return when a process started, in ticks since boot: process numbers are reused. 0 where it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        state, *fields = file.read().rpartition(b")")[2].split()
        # A process that nobody waited for keeps its number.
        return 0 if state == b"Z" else int(fields[18])
    return 0
