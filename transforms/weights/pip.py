"""Weights that are published as a Python package: pip fetches them, so that a user's index and proxy settings hold."""

import importlib.util
import shutil
import subprocess
import sys

from transforms.errors import FmaError


def download(requirement: str, folder: str) -> None:
    """Download the wheel of a requirement such as musicnn==0.1.0, without what it depends on, into a local folder.

    It is neither installed nor run.

    Raises:
      FmaError: there is no pip here, or it fails, with the last line that it wrote.
    """
    options = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--dest", folder)
    command = [*find_pip(), "download", requirement, *options]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[-1]
        raise FmaError(f"pip download {requirement} failed: {said}")


def find_pip() -> list[str]:
    """Return the command of this Python's pip, or of another one on the path: what is downloaded is the same.

    Raises:
      FmaError: there is none.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]  # not a module of the current folder
    if found := shutil.which("pip"):
        return [found]
    raise FmaError("there is no pip on this machine")
