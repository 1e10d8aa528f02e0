"""What commands print where names are hostile, and where standard streams are closed, full or without a reader."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

import fma
from tests.trainers.finished_runs import write_run
from tests.trainers.synthetic import write_dataset

ROOT = Path(__file__).resolve().parents[1]
EVIL = "Rock\x1b]0;owned\x07\x1b[31m\x9b2J\r\x7f\u202e\u2028\nPop"
SHOWN = r"Rock\x1b]0;owned\x07\x1b[31m\x9b2J\r\x7f\u202e\u2028\nPop"
BUFFERED = os.environ | {"PYTHONUNBUFFERED": ""}  # as for users: else argparse ignores that --help cannot be written
DRAWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what rich draws tables and bars with


def controls(text: str) -> set[str]:
    """The characters of a text that control a terminal or the order of others, without line feeds."""
    return {one for one in text if one != "\n" and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A dataset and two runs of it, with a genre, artists and titles that control terminals."""
    folder = tmp_path_factory.mktemp("hostile")
    dataset = folder / "dataset"
    digest = write_dataset(dataset, ("mel", "stats"), ("Folk", EVIL), {"training": 8, "test": 4}, artist=EVIL).digest
    about = {"dataset": str(dataset), "digest": digest, "genres": ("Folk", EVIL)}
    write_run(folder / "runs" / "cnn", track_id=range(9, 13), **about)
    write_run(folder / "runs" / "base", ("gnb", "knn"), track_id=range(9, 13), **about)
    return folder


def test_names_are_escaped_by_every_command_that_shows_them(work, capsys):
    dataset, run = str(work / "dataset"), str(work / "fitted")
    commands = [
        ("show", dataset),
        ("show", dataset, "--sheet", str(work / "sheet.png")),
        ("verify", dataset),
        ("explain", dataset, "10"),
        ("baselines", "--data", dataset, "--run", run, "--models", "gnb", "--jobs", "1"),
        ("evaluate", run, "--data", dataset),
        ("report", *(str(work / "runs" / name) for name in ("cnn", "base")), "--out", str(work / "report.html")),
    ]
    for command in commands:
        assert fma.main([*command]) == 0, command
        out, err = capsys.readouterr()
        assert not controls(out + err), command
        if command[0] in ("show", "explain"):
            assert SHOWN in out, command


def test_json_has_the_true_names_and_no_control_characters(work, capsys):
    assert fma.main(["show", str(work / "dataset"), "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["labels"] == ["Folk", EVIL]
    assert not controls(out)
    assert fma.main(["explain", str(work / "dataset"), "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["track"]["artist"] == f"{EVIL} 10"


def test_errors_escape_the_names_of_files_options_and_commands(work, capsys):
    for command in (["show", f"{work}/{EVIL}"], ["show", f"--{EVIL}", "."], [EVIL], ["predict", str(work), EVIL]):
        try:
            assert fma.main(command) in (1, 2)
        except SystemExit as end:
            assert end.code == 2
        assert not controls(capsys.readouterr().err), command


def test_a_drawn_table_and_bar_hold_no_escape_but_their_own(work):
    import pty

    code = (
        "import sys, fma; from transforms.runtime import console\n"
        f"with console.progress({EVIL!r}, 2, 'tracks') as bar: bar.update(1, {EVIL!r})\n"
        "sys.exit(fma.main(sys.argv[1:]))"
    )
    reader, writer = pty.openpty()
    command = [sys.executable, "-c", code, "show", str(work / "dataset")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    assert subprocess.run(command, stdout=writer, stderr=writer, cwd=ROOT, env=environment, check=False).returncode == 0
    os.write(writer, b"<the end>")
    drawn = ""
    while not drawn.endswith("<the end>"):
        drawn += os.read(reader, 1 << 16).decode(errors="ignore")
    os.close(reader)
    os.close(writer)
    assert drawn.count(SHOWN) >= 3
    assert not controls(DRAWN.sub("", drawn).replace("\r", "").replace(SHOWN, ""))


def test_a_traceback_and_the_notes_of_libraries_are_escaped():
    code = (
        "import os, sys\n"
        "from transforms.runtime.guard import main_guard\n"
        "from transforms.runtime.stderr import capture_native_stderr\n"
        "def run():\n"
        "    with capture_native_stderr():\n"
        f"        os.write(2, {EVIL!r}.encode())\n"
        f"        raise RuntimeError({EVIL!r})\n"
        "main_guard(run)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert ran.stderr.count(r"Rock\x1b]0;owned\x07") == 2
    assert not controls(ran.stderr)


def test_a_stream_that_is_not_utf_8_gets_escapes(work):
    command = [sys.executable, "-m", "fma", "show", str(work / "dataset") + "-日本\udce9"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = subprocess.run(command, capture_output=True, cwd=ROOT, env=environment, check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert rb"\u65e5\u672c\xe9" in ran.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["show", "{dataset}"], ["show", "no-dataset"]])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_taken_for_dev_null(work, arguments, closed):
    words = " ".join(arguments).format(dataset=work / "dataset")
    command = f"'{sys.executable}' -m fma {words} {closed}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == (2 if "no-dataset" in words else 0), ran.stderr
    assert ran.stderr == "" or ran.stderr.startswith("fma: error: no-dataset"), ran.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["show", "{dataset}"]])
def test_a_full_standard_output_is_one_line(work, arguments):
    command = [sys.executable, "-m", "fma", *(word.format(dataset=work / "dataset") for word in arguments)]
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=BUFFERED, check=False
        )
    assert ran.stderr == "fma: error: standard output: no space left on device: free some space or write elsewhere\n"
    assert ran.returncode == 1


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["show", "{dataset}"]])
def test_a_reader_that_has_left_ends_the_command_without_a_word(work, arguments):
    command = [sys.executable, "-m", "fma", *(word.format(dataset=work / "dataset") for word in arguments)]
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=BUFFERED, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, "")


def run(*arguments: str | bytes, python: Sequence[str] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, *python, "-m", "fma", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    "command",
    [["ingest", "--audio", "{}", "--metadata", "m.csv", "--out"], ["show"], ["sample", "--out"], ["report", "--out"]],
)
def test_a_path_that_is_not_utf_8_is_refused_in_one_line_before_any_work(tmp_path, command):
    ran = run(*command, os.fsencode(tmp_path) + b"/x\xe9y")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"fma: error: {tmp_path}/x\\xe9y is not UTF-8: rename the file or folder\n"
    assert not list(tmp_path.iterdir())


def test_python_without_docstrings_and_assertions_shows_help_and_datasets_and_refuses_beam(work):
    for arguments in (["--help"], ["sample", "--help"], ["show", str(work / "dataset")]):
        ran = run(*arguments, python=["-OO"])
        assert (ran.returncode, ran.stderr) == (0, ""), arguments
        assert ran.stdout
    ran = run("ingest", "--audio", "a", "--metadata", "b", "--out", "c", python=["-OO"])
    assert ran.returncode == 2
    assert ran.stderr.startswith("fma: error: Apache Beam needs the docstrings that python -OO removes")
