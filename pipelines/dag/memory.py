"""What a working folder remembers of its nodes: WORK/run.json, with the key of each node's inputs."""

import hashlib
import json
from typing import Any

from transforms import storage
from transforms.errors import FmaError

FILE_NAME = "run.json"
FORMAT_VERSION = 1


def key_of(inputs: dict[str, Any]) -> str:
    """A short, stable name for inputs, 8 hex digits."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]


class Memory:
    """The inputs with which each node of a working folder was last done.

    Args:
      work: the folder; need not exist yet.

    Raises:
      FmaError: its run.json is damaged or of a newer version.
    """

    def __init__(self, work: str):
        self._path = storage.join(work, FILE_NAME)
        self._done: dict[str, dict[str, Any]] = {}
        if storage.exists(self._path):
            self._done = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            values = json.loads(storage.read_bytes(self._path))
            version, done = values["format_version"], values["done"]
        except (ValueError, KeyError, TypeError) as error:
            raise FmaError(f"{self._path} is damaged ({error}); remove it to run every step again") from None
        if version > FORMAT_VERSION:
            raise FmaError(f"{self._path} has format version {version}: update fma-genres")
        return done

    def inputs(self, name: str) -> dict[str, Any] | None:
        """Those with which a node was last done, or None."""
        return self._done.get(name)

    def keep(self, name: str, inputs: dict[str, Any]) -> None:
        """Remembers that a node was done."""
        self._done[name] = inputs
        text = json.dumps({"format_version": FORMAT_VERSION, "done": self._done}, indent=2, sort_keys=True)
        storage.write_bytes(self._path, f"{text}\n".encode())


def changed(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    """Which inputs differ from the last time, in a few words; "" for none."""
    if before is None:
        return "not done yet"
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f"{', '.join(names)} changed" if names else ""
