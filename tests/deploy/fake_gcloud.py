"""A stand-in for gcloud that records its calls and answers as a test has arranged."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

GCLOUD = """#!{python}
import json, os, sys, time
folder = {folder!r}
said = sys.argv[1:]
with open(os.path.join(folder, "calls.jsonl"), "a") as file:
    file.write(json.dumps(said) + "\\n")
if "--config" in said:  # the script may remove it
    with open(said[said.index("--config") + 1]) as file, open(os.path.join(folder, "config"), "w") as kept:
        kept.write(file.read())
path = os.path.join(folder, "answers.json")
answers = json.load(open(path))
for answer in answers:
    if answer["to"] in " ".join(said) and answer["times"]:
        answer["times"] -= 1
        with open(path + ".new", "w") as file:  # it may be killed at any moment
            json.dump(answers, file)
        os.replace(path + ".new", path)
        time.sleep(answer["seconds"])
        print(answer["out"])
        print(answer["err"], file=sys.stderr)
        sys.exit(answer["code"])
"""


class Gcloud:
    """A stand-in for gcloud on PATH.

    Args:
      folder: where it and its notes are kept.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._answers: list[dict] = []
        program = folder / "gcloud"
        program.write_text(GCLOUD.format(python=sys.executable, folder=str(folder)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answers(
        self, to: str, out: str = "", *, code: int = 0, times: int = 1000, err: str = "", seconds: float = 0
    ) -> "Gcloud":
        """Arranges the answer to calls that contain `to`; the first that fits and is left is given."""
        self._answers.append({"to": to, "out": out, "code": code, "times": times, "err": err, "seconds": seconds})
        return self

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess:
        """Runs a script of deploy/ in an environment in which it does not wait."""
        process = self.start(script, *arguments)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, script: str, *arguments: str, **variables: str) -> subprocess.Popen:
        """Starts a script in a process group of its own, with more in its environment."""
        (self._folder / "calls.jsonl").write_text("")
        (self._folder / "answers.json").write_text(json.dumps(self._answers))
        environment = os.environ | {
            "PATH": f"{self._folder}{os.pathsep}{os.environ['PATH']}",
            "POLL_SECONDS": "0",
            "PATIENCE": "5",
            "LOSSES": "6",
            **variables,
        }
        command = ["bash", str(DEPLOY / script), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)

    @property
    def calls(self) -> list[list[str]]:
        """The words of each call of the last run, in order, without those that ask for credentials."""
        found = [json.loads(line) for line in (self._folder / "calls.jsonl").read_text().splitlines()]
        return [call for call in found if call[0] != "auth"]

    @property
    def config(self) -> str:
        """What was in the file that the last call with --config named."""
        return (self._folder / "config").read_text()

    @property
    def verbs(self) -> list[str]:
        """What each call did, in short: `ssh true` for a remote command, else the verb."""
        return [verb(call) for call in self.calls]


def verb(call: list[str]) -> str:
    """What a call does, see `Gcloud.verbs`."""
    if "ssh" in call:
        command = shlex.split(call[call.index("--command") + 1])
        names = {"true": "ssh", "gcloud": "install", "bash": "train", "cat": "status"}
        return names[command[0]]
    known = ("create", "describe", "delete", "submit", "run")
    return next(word for word in call if word in known)


def value(call: list[str], option: str) -> str:
    """What an option of a call is set to."""
    return call[call.index(option) + 1]
