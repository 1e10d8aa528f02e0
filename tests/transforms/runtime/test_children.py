"""Child processes: what they import, when they end, and what they do with the signals of a terminal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import assert_all_end, is_running
from transforms.errors import FmaError
from transforms.runtime import children
from transforms.runtime.pool import process_pool

ROOT = Path(__file__).resolve().parents[3]
PARENT = "import sys, time; from transforms.runtime import children; "
STARTS_TWO = PARENT + (
    "print(*(children.start('import time; print(flush=True); time.sleep(60)')[0].pid for _ in range(2)), flush=True); "
    "time.sleep(60)"
)


def start(code: str, folder: Path = ROOT) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    )


def fail(number: int) -> int:
    raise FmaError(f"number {number}")


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV])
def test_children_end_within_five_seconds_of_their_parent_however_it_ends(number):
    with start(STARTS_TWO) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split() or parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(number)
        assert parent.wait() == -number
        assert_all_end(pids)


def test_ctrl_c_while_a_child_starts_is_left_to_its_parent(tmp_path):
    """Pressed when the child is a program that has not run a line of ours yet."""
    code = "from transforms.runtime.guard import main_guard; from transforms.runtime import children; "
    code += "import signal, sys, threading, os, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "def press():\n time.sleep(.02); os.killpg(0, signal.SIGINT)\n"
    code += "def work():\n threading.Thread(target=press).start(); return children.run('import time; time.sleep(60)')\n"
    code += "sys.exit(main_guard(work))"
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert (ended.returncode, ended.stderr) == (130, "fma: interrupted\n")


def test_a_child_imports_what_its_parent_does_and_nothing_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "songs").mkdir()
    for name in ("soundfile.py", "argparse.py", "pickle.py"):
        (tmp_path / "songs" / name).write_text("raise SystemExit('what lies in the folder was run')")
    (tmp_path / "songs" / "transforms").mkdir()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path / "songs")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "plugins"), *sys.path])
    assert children.run("import soundfile, argparse, pickle, transforms.errors, mine") == 0


def test_a_library_starts_children_that_import_nothing_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "soundfile.py").write_text("raise SystemExit('what lies in the folder was run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{ROOT}{os.pathsep}")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    command = [sys.executable, "-c", "import soundfile, transforms"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    with children.safe_environment():
        assert subprocess.run(command, check=False).returncode == 0
    assert os.environ["PYTHONPATH"] == f"{os.pathsep}{ROOT}{os.pathsep}"
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_parent_that_is_asked_to_end_lets_its_child_clean_up(tmp_path):
    cleans_up = (
        "import os, sys, time; from transforms.runtime.guard import main_guard\n"
        "def work():\n"
        "    try: print(os.getpid(), flush=True); time.sleep(60)\n"
        f"    finally: open({str(tmp_path / 'clean')!r}, 'w').close()\n"
        "sys.exit(main_guard(work))"
    )
    code = PARENT + (
        f"from transforms.runtime.guard import main_guard; sys.exit(main_guard(children.run, {cleans_up!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGTERM)
        assert parent.stderr.read() == "fma: ended by SIGTERM\n"
    assert parent.returncode == 143
    assert (tmp_path / "clean").exists()
    assert not is_running(child)


def test_a_pool_computes_in_order_in_other_processes():
    with process_pool() as run:
        assert list(run(abs, [-3, 2, -1])) == [3, 2, 1]
        pids = set(run(sleep, [0.01] * 4))
    assert os.getpid() not in pids
    assert_all_end(list(pids))


def test_an_error_in_a_pool_is_raised_with_its_place():
    with process_pool() as run, pytest.raises(FmaError, match="number 7") as raised:
        list(run(fail, [7]))
    assert "in fail" in raised.value.__notes__[0]


def test_a_process_of_a_pool_that_dies_ends_the_work_with_one_line():
    with process_pool() as run, pytest.raises(FmaError, match="a process died"):
        list(run(die, [1]))


def test_a_pool_that_is_left_early_does_not_wait_for_what_it_computes():
    started = time.monotonic()
    with pytest.raises(KeyError), process_pool() as run:
        run(sleep, [60.0])
        raise KeyError
    assert time.monotonic() - started < 30


def test_a_process_of_a_pool_whose_parent_is_gone_ends_without_a_word():
    child, channel = children.start("from transforms.runtime.pool import serve; serve()", stderr=subprocess.PIPE)
    channel.send((time.sleep, 0.5))
    channel.close()
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (0, b"")
