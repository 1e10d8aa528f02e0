"""How this program was called, so that a message names a command that works where it is pasted."""

import os
import shlex
import shutil
import sys

CALLED_AS = "FMA_CALLED_AS"
"""Variable that passes it on to child processes, whose own command line is another one."""


def called_as() -> str:
    """Return what to type for this program: `fma`, `.venv/bin/fma`, `python -m fma`, ..., quoted for a shell."""
    path = sys.argv[0]
    name = os.path.basename(path)
    if name == "fma":
        return name if shutil.which(name) == path else shlex.quote(path)
    if name == "fma.py":  # of python -m fma, or python fma.py
        return shlex.join(sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1])
    return os.environ.get(CALLED_AS, "fma")


def command_line(command: str, *arguments: str) -> str:
    """Return a command of this program, ready to paste: `.venv/bin/fma verify 'my music-fma/dataset'`."""
    return f"{called_as()} {shlex.join([command, *arguments])}"
