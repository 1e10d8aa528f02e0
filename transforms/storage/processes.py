"""Which process of which machine wrote something, and whether it still runs."""

import contextlib
import os
import socket
from typing import Any


def identity() -> dict[str, Any]:
    """This process, so that no other one at any time or place has the same."""
    return _place() | {"pid": os.getpid(), "started": _started(os.getpid())}


def is_here(other: dict[str, Any]) -> bool:
    """Whether an identity is of a process of this machine (or container), running or not."""
    return {key: other.get(key) for key in _place()} == _place()


def is_alive(other: dict[str, Any]) -> bool:
    """Whether the process of an identity that `is_here` still runs."""
    pid = other.get("pid")
    return isinstance(pid, int) and is_running(pid) and other.get("started") == _started(pid)


def is_running(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _place() -> dict[str, str]:
    space = boot = ""
    with contextlib.suppress(OSError):  # only Linux has such names; there containers may share a host's
        space = os.readlink("/proc/self/ns/pid")
    # Machines of one image may have the same name, and the same number for their first name space.
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return {"host": socket.gethostname(), "space": space, "boot": boot}


def _started(pid: int) -> int:
    """When a process began, in ticks since the machine did: numbers of processes are given out again."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return 0
