"""Messages name commands as the user called the program."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from transforms.runtime.invocation import command_line

ROOT = Path(__file__).resolve().parents[3]
CONSOLE_SCRIPT = f"""#!{sys.executable}
import sys, fma
from transforms.runtime import children
fma.main()
sys.exit(children.run("import fma, sys; sys.exit(fma.main())", *sys.argv[1:]))
"""
"""Runs the command twice: itself, and in a child, as `fma run` does."""


def advice(folder: Path, *words: str, **variables: str) -> list[str]:
    """Return the command that each line of standard error advises."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert ran.returncode == 2, ran.stderr
    return [line.partition("make one with ")[2].rstrip(")") for line in ran.stderr.splitlines()]


def test_hints_name_the_program_as_it_was_called_and_so_do_those_of_its_children(tmp_path):
    program = tmp_path / "my bin" / "fma"
    program.parent.mkdir()
    program.write_text(CONSOLE_SCRIPT)
    program.chmod(0o755)
    (tmp_path / "music").mkdir()
    assert advice(tmp_path, "my bin/fma", "show", "music") == ["'my bin/fma' ingest"] * 2
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    assert advice(tmp_path, str(program), "show", "music", PATH=path) == ["fma ingest"] * 2
    module = [sys.executable, "-W", "ignore", "-m", "fma"]
    assert advice(tmp_path, *module, "show", "music") == [shlex.join([*module, "ingest"])]


def test_paths_in_a_command_line_are_quoted():
    assert command_line("verify", "my music-fma/dataset") == "fma verify 'my music-fma/dataset'"
