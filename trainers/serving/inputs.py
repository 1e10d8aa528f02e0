"""What `fma predict` is asked about: files, folders, pipes, and bytes on standard input."""

import os
import select
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import IO

from transforms import storage
from transforms.errors import TrackError, UsageError
from transforms.runtime import console


def printable(text: str, encoding: str | None = "utf-8") -> str:
    r"""A text on one line that any terminal, table and picture can show.

    Args:
      text: such as a file's name; bytes that are no UTF-8 are in it as `os.fsdecode` puts them.
      encoding: of the stream that it goes to.

    Returns:
      the text with an escape (\n, \x1b, \xe9) for each character that steers a terminal or has no shape.
    """
    shown = "".join(character if character.isprintable() else _escaped(character) for character in text)
    encoding = encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return " " if character.isspace() and character > "\u00ff" else character.encode("unicode_escape").decode()


MOST_BYTES = 4 << 30
"""A stream without an end must not fill the disk."""

OURS = ("/dev/", "/proc/")
"""What lies there may be another file for another process: /dev/stdin."""


def is_stream(path: str) -> bool:
    """Whether a local path is to be copied before it is judged."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or os.path.abspath(path).startswith(OURS))


def copy_standard_input(target: IO[bytes]) -> None:
    """Copies standard input to a file.

    Raises:
      UsageError: it is closed, or has more than `MOST_BYTES`.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    size = 0
    while block := sys.stdin.buffer.read(1 << 20):
        size += len(block)
        if size > MOST_BYTES:
            raise UsageError(f"standard input has more than {console.human_bytes(MOST_BYTES)}: give a file")
        target.write(block)
    target.flush()


def copy_to_temporary(path: str, seconds: float) -> IO[bytes]:
    """A temporary file with all that a pipe or a device has to say.

    Args:
      path: of it.
      seconds: until it has to be at its end.

    Raises:
      TrackError: unreadable_audio, too_large or timeout.
    """
    target = tempfile.NamedTemporaryFile(prefix="fma-")  # noqa: SIM115 - closed by the caller
    try:
        # Without O_NONBLOCK, to open a FIFO would wait for its writer for ever.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _copy(source, target, seconds)
        finally:
            os.close(source)
    except OSError as error:
        target.close()
        raise TrackError("unreadable_audio", f"{path}: {error.strerror}") from error
    except BaseException:
        target.close()
        raise
    return target


def _copy(source: int, target: IO[bytes], seconds: float) -> None:
    deadline, size, poll = time.monotonic() + seconds, 0, select.poll()
    poll.register(source, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            raise TrackError("timeout", f"not at its end within {seconds:g} s")
        try:
            block = os.read(source, 1 << 20)
        except BlockingIOError:
            continue
        if not block:
            break
        size += len(block)
        if size > MOST_BYTES:
            raise TrackError("too_large", f"more than {console.human_bytes(MOST_BYTES)}")
        target.write(block)
    target.flush()


STANDARD_INPUT = "-"

ENDINGS = (
    *("mp3", "wav", "flac", "ogg", "oga", "opus", "aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64"),
    *("m4a", "m4b", "mp4", "aac", "wma", "ape", "wv", "mpc", "mp2", "3gp", "amr"),
)
"""What is tried of a folder. Some of these libsndfile cannot read: they get their reason rather than be passed over."""


@dataclass(frozen=True)
class Song:
    """A file to judge: what to call it, where it lies, and why it has no answer where that is known already."""

    name: str
    path: str
    failure: TrackError | None = None


def find_songs(paths: Sequence[str]) -> list[Song]:
    """The songs that some arguments stand for, in their order; a folder's in the order of their names.

    Raises:
      UsageError: a folder has no audio in it, or standard input is named twice.
    """
    if list(paths).count(STANDARD_INPUT) > 1:
        raise UsageError("standard input (-) can be read once only")
    return [song for path in paths for song in _expand(path)]


def _expand(path: str) -> list[Song]:
    if path == STANDARD_INPUT or not storage.is_dir(path):
        return [Song(path, path)]
    files = list(_files_below(path))
    audio = [file for file in files if file.rpartition(".")[2].lower() in ENDINGS]
    shown = printable(path)
    if not audio:
        raise UsageError(f"{shown} has no audio files below it (looked for .{', .'.join(ENDINGS)})")
    if len(audio) < len(files):
        console.log(
            f"{shown}: left out what is not audio by its name, {len(files) - len(audio):,} of {len(files):,} files"
        )
    return [Song(file, file) for file in audio]


def _files_below(path: str) -> Iterator[str]:
    """As `storage.list_files`, but a folder that may not be looked into costs a note, not the others their answers."""
    if not storage.is_local(path):
        yield from (file for file, _ in storage.list_files(path))
        return
    try:
        with os.scandir(path.removeprefix("file://")) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError:
        console.log(f"note: {printable(path)} is left out: no permission to look into it")
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files_below(entry.path)
        elif entry.is_file():
            yield entry.path


@contextmanager
def on_disk(songs: Sequence[Song], seconds: float) -> Iterator[list[Song]]:
    """The songs, with standard input, pipes and devices as files for as long as the block lasts.

    Args:
      songs: see `find_songs`.
      seconds: that a pipe has until it is at its end; standard input has all the time that it wants.

    Raises:
      UsageError: standard input is closed or has no end.
    """
    with ExitStack() as files:
        yield [_on_disk(song, seconds, files) for song in songs]


def _on_disk(song: Song, seconds: float, files: ExitStack) -> Song:
    if song.path == STANDARD_INPUT:
        file = files.enter_context(tempfile.NamedTemporaryFile(prefix="fma-"))  # noqa: SIM115
        copy_standard_input(file)
        return replace(song, path=file.name)
    if not storage.is_local(song.path) or not is_stream(song.path):
        return song
    try:
        return replace(song, path=files.enter_context(copy_to_temporary(song.path, seconds)).name)
    except TrackError as error:
        return replace(song, failure=error)
