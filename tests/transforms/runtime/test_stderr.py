import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, subprocess, sys
from transforms.errors import FmaError
from transforms.runtime.stderr import capture_native_stderr
try:
    with capture_native_stderr():
        print("our own line", file=sys.stderr)
        os.write(2, b"a note of a library\\n")
        subprocess.run([sys.executable, "-c", "import sys; print('a note of a worker', file=sys.stderr)"])
        if sys.argv[1:]:
            raise {"FmaError": FmaError, "OSError": OSError, "RuntimeError": RuntimeError}[sys.argv[1]]("wrong")
except Exception as error:
    print("raised", type(error).__name__, file=sys.stderr)
os.write(2, b"afterwards\\n")
"""


def stderr_of(*arguments: str, debug: str = "0") -> list[str]:
    environment = os.environ | {"FMA_DEBUG": debug}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr.splitlines()


def test_notes_of_libraries_and_workers_are_kept_back_and_our_own_lines_show():
    assert stderr_of() == ["our own line", "afterwards"]


@pytest.mark.parametrize("plain", ["FmaError", "OSError"])
def test_a_plain_error_needs_no_notes(plain):
    assert stderr_of(plain) == ["our own line", f"raised {plain}", "afterwards"]


def test_an_unexpected_exception_shows_them():
    assert stderr_of("RuntimeError") == [
        "our own line",
        "a note of a library",
        "a note of a worker",
        "raised RuntimeError",
        "afterwards",
    ]


def test_debugging_shows_them_as_they_come():
    assert stderr_of(debug="1") == ["our own line", "a note of a library", "a note of a worker", "afterwards"]


def test_what_a_thread_says_shows_at_every_moment_of_a_capture():
    script = (
        "import sys, threading\n"
        "from transforms.runtime import console\n"
        "from transforms.runtime.stderr import capture_native_stderr\n"
        "sys.setswitchinterval(1e-6)\n"
        "def say():\n"
        "    for i in range(5000):\n"
        "        console.log_error(f'line {i}')\n"
        "thread = threading.Thread(target=say)\n"
        "thread.start()\n"
        "while thread.is_alive():\n"
        "    with capture_native_stderr():\n"
        "        pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [f"line {i}" for i in range(5000)]
