"""The signals that end a command: clean-up runs, one line is shown, and the exit code names the signal."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WORKS = (
    "import os, sys, time\n"
    "from transforms.runtime.console import progress\nfrom transforms.runtime.guard import main_guard\n"
    "def work():\n"
    "    with progress('ingest', 9, 'tracks', interval=0) as bar:\n"
    "        try:\n"
    "            bar.update(1)\n"
    "            print('works', flush=True)\n"
    "            for _ in range(300): time.sleep(.1)\n"
    "            return 0\n"
    "        finally:\n"
    "            print('begins to clean up', flush=True)\n"
    "            time.sleep(.5)\n"
    "            open(sys.argv[1], 'w').close()\n"
    "sys.exit(main_guard(work))\n"
)


def start(path: Path, before: str = "", **options) -> subprocess.Popen:
    command = [sys.executable, "-c", before + WORKS, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True, **options)


@pytest.mark.parametrize(
    ("number", "line", "code"),
    [
        (signal.SIGINT, "fma: interrupted", 130),
        (signal.SIGTERM, "fma: ended by SIGTERM", 143),
        (signal.SIGHUP, "fma: ended by SIGHUP", 129),
    ],
)
def test_a_signal_cleans_up_and_is_one_line_even_where_others_follow(tmp_path, number, line, code):
    default = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
    process = start(tmp_path / "clean", default, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "works\n"
    process.send_signal(number)
    assert process.stdout.readline() == "begins to clean up\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    _, shown = process.communicate()
    assert shown.splitlines()[1:] == [line] or shown.splitlines()[2:] == [line], shown
    assert process.returncode == code
    assert (tmp_path / "clean").exists()


def test_a_signal_during_a_finalizer_which_may_not_raise_still_ends_the_command(tmp_path):
    finalizer = (
        "import os, signal, threading\n"
        "class Closes:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        for _ in range(100_000): pass\n"
    )
    works = WORKS.replace("bar.update(1)", "bar.update(1); closes = Closes(); del closes")
    command = [sys.executable, "-c", finalizer + works, str(tmp_path / "clean")]
    ended = subprocess.run(command, capture_output=True, cwd=ROOT, text=True, timeout=20, check=False)
    assert ended.returncode == 143, ended.stderr
    assert ended.stderr.splitlines()[-1] == "fma: ended by SIGTERM"
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "clean").exists()


def test_a_signal_that_is_ignored_as_nohup_does_stays_ignored(tmp_path):
    ignores = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start(tmp_path / "clean", ignores, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == "works\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


def test_a_terminal_that_is_closed_ends_the_command_which_cannot_write_to_it_any_more(tmp_path):
    ours, theirs = pty.openpty()
    process = start(tmp_path / "clean", stderr=theirs, start_new_session=True, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    assert process.stdout.readline() == "works\n"
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 129
    assert (tmp_path / "clean").exists()
