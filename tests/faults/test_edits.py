"""Some of the random edits of `make faults`, in a process that has imported nothing before it forks."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

EDITS = 6  # each of another kind of file


@pytest.mark.timeout(900)
def test_edited_files_are_refused_in_one_line_or_change_no_result():
    command = [sys.executable, "-m", "tests.faults.edits", "--edits", str(EDITS), "--seed", "2", "--jobs", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ran.stdout.splitlines()[-1:] == [f"{EDITS} of {EDITS} edits held"], ran.stdout + ran.stderr
