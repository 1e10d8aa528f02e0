"""Child processes: none imports from the current folder, outlives its parent, takes Ctrl-C or holds a parent's lock.

Each is a new program, not a fork: a lock ends with the descriptors that it does not inherit. How its parent ended, by a
signal or by the system, makes no difference to a child, since it looks for it.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from subprocess import DEVNULL, Popen
from typing import Any

PROGRAM = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LEFT_TO_PARENT = (signal.SIGINT, signal.SIGHUP)
CHECK_SECONDS = 0.5  # how often a child looks for its parent
SOCKET_BUFFER = 1 << 20  # bytes

_attached = False


def command(code: str, *arguments: str) -> list[str]:
    """Return the command of a child that runs Python code; it needs the variables of `environment`."""
    attaching = f"from transforms.runtime.children import attach; attach({os.getpid()})"
    return [sys.executable, "-P", "-c", f"{attaching}; {code}", *arguments]


def environment() -> dict[str, str]:
    """Return the variables of a child, which imports from where this process does, but for the current folder."""
    path = [entry or PROGRAM for entry in sys.path if entry or os.getcwd() == PROGRAM]
    return os.environ | {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path)}


@contextlib.contextmanager
def safe_environment() -> Iterator[None]:
    """Let the children that a library starts in the body import nothing from the current folder."""
    before, safe = dict(os.environ), {"PYTHONSAFEPATH": "1"}
    if "PYTHONPATH" in before:  # where an empty entry stands for the current folder
        safe["PYTHONPATH"] = os.pathsep.join(filter(os.path.isabs, before["PYTHONPATH"].split(os.pathsep)))
    os.environ.update(safe)
    try:
        yield
    finally:
        for name in safe:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


def attach(parent: int) -> None:
    """Make this process end when its parent has, and leave to that one what comes from the terminal."""
    global _attached  # noqa: PLW0603 - true of the process
    _attached = True
    for number in LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_PARENT)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Block in the body what a child leaves to its parent: a child that is started there has it blocked until `attach`.

    Otherwise Ctrl-C while Python starts would end the child with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def attached() -> bool:
    """Return whether this process is the child of one that reports for it."""
    return _attached


def run_command(*words: str, stdout: int | None = None) -> int:
    """Run a command of this program in a child, as `run` does: the words are those after `fma`."""
    return run("import fma, sys; sys.exit(fma.main())", *words, stdout=stdout)


def run(code: str, *arguments: str, stdout: int | None = None) -> int:
    """Run Python code in a child and return its exit code; a signal that ends this process lets it clean up first.

    `stdout` is the descriptor that its standard output goes to; None for this process's own.
    """
    blocked = contextlib.ExitStack()
    blocked.enter_context(signals_blocked())
    with blocked, Popen(command(code, *arguments), env=environment(), stdout=stdout) as child:
        try:
            blocked.close()  # a signal that has come meanwhile is raised here
            return child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            child.kill()


def start(
    code: str, *arguments: str, variables: Mapping[str, str] | None = None, stderr: Any = None
) -> tuple[Popen, Connection]:
    """Start a child that runs Python code; return it and a connection, whose other end it has by `connection`."""
    ours, theirs = socket.socketpair()
    with theirs, signals_blocked():
        for end in (ours, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        words, number = command(code, str(theirs.fileno()), *arguments), theirs.fileno()
        child = Popen(words, env=environment() | dict(variables or {}), pass_fds=[number], stdin=DEVNULL, stderr=stderr)
    return child, Connection(ours.detach())


def connection() -> Connection:
    """Return a child's connection to its parent, which has called `start`."""
    return Connection(int(sys.argv[1]))
