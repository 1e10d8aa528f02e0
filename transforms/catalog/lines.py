"""Lines of tables, which may have any length in a file that is no table."""

import io
from typing import Any, BinaryIO

from transforms.errors import UsageError

LONGEST_LINE = 4 << 20
"""Bytes of a line and of a cell: FMA's longest biographies pass the csv module's 128 KiB."""


def limit_lines(file: BinaryIO, name: str) -> io.BufferedReader:
    """Return the file's bytes; a line longer than `LONGEST_LINE` is a UsageError before it fills the memory.

    `name` is what to call the file there.
    """
    return io.BufferedReader(_Limited(file, name), 1 << 20)


class _Limited(io.RawIOBase):
    def __init__(self, file: BinaryIO, name: str):
        self._file, self._name = file, name
        self._length = self._lines = 0  # of the line that is not at its end yet, and before it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._length = self._length + len(data) if end < 0 else len(data) - end - 1
        if self._length > LONGEST_LINE:
            row = self._lines + data.count(b"\n") + 1
            raise UsageError(f"{self._name} line {row}: longer than {LONGEST_LINE >> 20} MiB: this is not a table")
        self._lines += data.count(b"\n")
        return len(data)
