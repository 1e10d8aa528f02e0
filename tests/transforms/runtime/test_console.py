"""What a user sees: progress in a log and on a real pseudo-terminal, tables, errors and exit codes."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from transforms.errors import FmaError, UsageError
from transforms.runtime.console import (
    annotate_os_errors,
    counted,
    format_table,
    human_bytes,
    human_seconds,
    log,
    progress,
    say,
    table,
)
from transforms.runtime.guard import main_guard

END = "<the end>"
ROOT = Path(__file__).resolve().parents[3]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def lines_of(steps, total=8000, unit="tracks", fail=False, **options):
    """The lines that come of (seconds, done, note) steps."""
    clock, stream = Clock(), io.StringIO()
    try:
        with progress("ingest", total, unit, clock=clock, stream=stream, **options) as bar:
            for seconds, done, note in steps:
                clock.now = 100.0 + seconds
                bar.update(done, note)
            if fail:
                raise KeyError
    except KeyError:
        assert fail
    return stream.getvalue().splitlines()


class Terminal:
    """A pseudo-terminal; `stream` is its end for a program, `read` what was drawn."""

    def __init__(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        self._reader, writer = os.openpty()
        self.stream = os.fdopen(writer, "w")

    def read(self):
        self.stream.write(END)
        self.stream.flush()
        drawn = ""
        while not drawn.endswith(END):  # a terminal hands over what it has, not all there is
            drawn += os.read(self._reader, 1 << 16).decode(errors="ignore")
        self.stream.close()
        os.close(self._reader)
        return drawn


def test_a_log_gets_one_plain_line_every_thirty_seconds_and_one_at_the_end():
    steps = [(t, 40 * t, f"{t // 10} failed" if t >= 10 else "") for t in range(1, 66)]
    assert lines_of(steps) == [
        "ingest: 1,200 of 8,000 tracks, 40.0/s, 2 min 50 s left, 3 failed",
        "ingest: 2,400 of 8,000 tracks, 40.0/s, 2 min 20 s left, 6 failed",
        "ingest: 2,600 of 8,000 tracks, 40.0/s, in 1 min 5 s, 6 failed",
    ]


def test_the_interval_between_lines_can_be_set():
    assert len(lines_of([(t, t, "") for t in range(1, 11)], interval=2)) == 5 + 1


def test_the_rate_is_that_of_the_last_minute():
    slow_then_fast = [(100.0 * i, i, "") for i in range(1, 5)] + [(400.0 + t, 4 + 100 * t, "") for t in range(1, 121)]
    assert "100.0/s" in lines_of(slow_then_fast)[-2]


def test_what_was_there_before_does_not_count_towards_the_rate():
    assert lines_of([(30, 3 << 30, "")], total=4 << 30, unit="bytes", initial=2 << 30)[0] == (
        "ingest: 3.0 GiB of 4.0 GiB, 34.1 MiB/s, 30 s left"
    )


def test_work_that_starts_again_has_a_rate_of_its_own():
    assert lines_of([(10, 5000, ""), (20, 0, ""), (30, 100, "")])[0] == (
        "ingest: 100 of 8,000 tracks, 10.0/s, 13 min 10 s left"
    )


def test_work_that_fails_says_how_far_it_came():
    assert lines_of([(10, 500, "")], fail=True) == ["ingest: stopped at 500 of 8,000 tracks, 50.0/s, in 10 s"]


def test_an_unknown_total_shows_no_time_left():
    assert lines_of([(30, 15, "")], total=None)[0] == "ingest: 15 tracks, 0.500/s"


def test_advance_counts_from_where_it_was():
    stream = io.StringIO()
    with progress("verify", 10, "records", stream=stream) as bar:
        bar.advance(3)
        bar.advance(4, "1 bad")
    assert bar.done == 7
    assert "7 of 10 records" in stream.getvalue()
    assert stream.getvalue().endswith("1 bad\n")


def test_a_terminal_gets_a_bar_with_count_rate_time_left_and_note(monkeypatch):
    terminal, clock = Terminal(monkeypatch), Clock()
    with progress("ingest", 8000, "tracks", clock=clock, stream=terminal.stream) as bar:
        clock.now += 30
        bar.update(1200, "3 failed [of many]")
    drawn = terminal.read()
    assert "0 of 8,000 tracks" in drawn
    assert "1,200 of 8,000 tracks, 40.0/s, 2 min 50 s left, 3 failed [of many]" in drawn
    assert "━" in drawn


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    terminal = Terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with progress("ingest", 10, "tracks", stream=terminal.stream) as bar:
        bar.update(10)
    assert terminal.read().startswith("ingest: 10 of 10 tracks")


def test_progress_and_remarks_leave_standard_output_to_results(capsys):
    with progress("ingest", 1, "tracks") as bar:
        bar.update(1)
    log("a remark")
    say("a result")
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert captured.err.endswith("a remark\n")


ROWS = [("Rock", np.int64(106574), 0.5, "7.2 GiB"), ("[pop]", 7, 12.25, "96 KiB"), ("none", None, None, "-")]


def test_a_plain_table_aligns_numbers_to_the_right_with_thousands_separators():
    assert format_table("By genre", ["genre", "tracks", "share", "size"], ROWS).splitlines() == [
        "By genre",
        "genre   tracks  share     size",
        "-----  -------  -----  -------",
        "Rock   106,574   0.50  7.2 GiB",
        "[pop]        7  12.25   96 KiB",
        "none                         -",
    ]


def test_a_table_goes_to_standard_output_and_may_be_empty(capsys):
    table("", ["genre", "tracks"], [])
    assert capsys.readouterr().out == "genre  tracks\n-----  ------\n"


def test_a_terminal_gets_a_drawn_table(monkeypatch):
    terminal = Terminal(monkeypatch)
    table("By genre", ["genre", "tracks", "share", "size"], ROWS, stream=terminal.stream)
    drawn = terminal.read()
    assert "106,574" in drawn
    assert "[pop]" in drawn  # not taken for markup
    assert "│" in drawn


def test_bytes_and_seconds_read_well():
    sizes = [0, 1023, 1024, 1 << 20, int(7.2 * 2**30), 342 << 20, (1 << 20) - 1, 93 << 40]
    read = ["0 B", "1,023 B", "1.0 KiB", "1.0 MiB", "7.2 GiB", "342 MiB", "1.0 MiB", "93.0 TiB"]
    assert [human_bytes(n) for n in sizes] == read
    spans = [0, 4.21, 9.96, 59.4, 59.6, 165, 3600, 11_100, 200_000]
    read = ["0.0 s", "4.2 s", "10 s", "59 s", "1 min 0 s", "2 min 45 s", "1 h 0 min", "3 h 5 min", "2 d 7 h"]
    assert [human_seconds(s) for s in spans] == read


def fails_with(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FmaError("the disk\n  is gone"), 1, "fma: error: the disk is gone"),
        (UsageError("--hop 0: give at least 1"), 2, "fma: error: --hop 0: give at least 1"),
        (KeyboardInterrupt(), 130, "fma: interrupted"),
        (OSError(errno.EACCES, "", "data"), 1, "fma: error: data: permission denied: check the permissions"),
        (OSError(errno.EROFS, "", b"data"), 1, "fma: error: data: read-only file system: write elsewhere"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_an_exit_code(error, code, line, capsys):
    assert main_guard(fails_with(error)) == code
    assert capsys.readouterr().err == line + "\n"


def test_a_run_without_error_keeps_its_exit_code_and_gets_its_arguments():
    assert main_guard(lambda a, b: a + b, 1, 2) == 3


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main_guard(lambda: len((tmp_path / "tracks.csv").read_bytes())) == 1
    assert capsys.readouterr().err == f"fma: error: {tmp_path}/tracks.csv: no such file or directory: check the path\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_named(capsys):
    def run():
        with annotate_os_errors("data/small"), open("/dev/full", "wb") as file:
            return file.write(b"x")

    assert main_guard(run) == 1
    assert "fma: error: data/small: no space left on device: free some space" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.ECONNRESET, "reset"), BrokenPipeError(32, "")])
def test_a_programming_error_stays_loud(error):
    with pytest.raises(type(error)):
        main_guard(fails_with(error))


def test_debug_shows_the_traceback_too(monkeypatch, capsys):
    monkeypatch.setenv("FMA_DEBUG", "1")
    assert main_guard(fails_with(UsageError("no such kind"))) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("fma: error: no such kind\n")


def python(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_reader_that_leaves_ends_the_command_quietly(size, unbuffered):
    write = f"lambda: sys.stdout.write('x' * {size})"
    code = f"import sys; from transforms.runtime.guard import main_guard; sys.exit(main_guard({write}))"
    reader, writer = os.pipe()
    os.close(reader)
    process = python(code, stdout=writer, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    assert process.communicate()[1] == ""
    assert process.returncode == 141


def test_the_helpers_and_the_command_are_light_to_import():
    modules = "transforms.runtime.console, transforms.catalog.download"
    code = f"import sys, {modules}; print({{'rich', 'requests', 'numpy'}} & {{*sys.modules}})"
    assert python(code, stdout=subprocess.PIPE).communicate() == ("set()\n", "")


def test_one_of_a_kind_is_named_in_the_singular():
    assert [counted(count, "track") for count in (0, 1, 8000)] == ["0 tracks", "1 track", "8,000 tracks"]
