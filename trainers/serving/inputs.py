"""The songs that `fma predict` is given: files, folders, pipes, and bytes on standard input."""

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
from transforms.catalog.folders import ENDINGS, files_below, is_audio
from transforms.catalog.locate import check_track
from transforms.errors import TrackError, UsageError
from transforms.runtime import console, temporary
from transforms.tracks import Track

STANDARD_INPUT = "-"

MOST_BYTES = 4 << 30  # a stream without an end must not fill the disk
OF_PROCESS = ("/dev/", "/proc/")  # paths below these, such as /dev/stdin, may be another file for another process


@dataclass(frozen=True)
class Song:
    """A song: its name for people, its path, and why it has no answer where that is known already."""

    name: str
    path: str
    failure: TrackError | None = None


def find_songs(paths: Sequence[str]) -> list[Song]:
    """Return the songs that some arguments stand for, in their order; a folder's in the order of their names.

    Those whose file is missing or cannot be read are found here, before a model is loaded for them.

    Raises:
      UsageError: a folder has no audio in it, or standard input is given twice.
    """
    if list(paths).count(STANDARD_INPUT) > 1:
        raise UsageError("standard input (-) can be read once only")
    return [Song(file, file, _find_failure(file)) for path in paths for file in _expand(path)]


def _find_failure(path: str) -> TrackError | None:
    if path == STANDARD_INPUT or not storage.is_local(path) or _is_stream(path):
        return None
    try:
        check_track(Track(0, "", "test", path))
    except TrackError as error:
        return error
    return None


def _expand(path: str) -> list[str]:
    if path == STANDARD_INPUT or not storage.is_dir(path):
        return [path]
    files = list(files_below(path))
    audio = [file for file in files if is_audio(file)]
    if not audio:
        raise UsageError(f"{path} has no audio files below it (looked for .{', .'.join(ENDINGS)})")
    if len(audio) < len(files):
        console.log(
            f"{path}: left out what is not audio by its name, {len(files) - len(audio):,} of {len(files):,} files"
        )
    return audio


@contextmanager
def on_disk(songs: Sequence[Song], seconds: float) -> Iterator[list[Song]]:
    """Copy standard input, pipes and devices to temporary files, for as long as the block lasts.

    `seconds` is the limit for a pipe until its end; standard input has none.

    Raises:
      UsageError: standard input is closed or has no end.
    """
    with ExitStack() as files:
        yield [_on_disk(song, seconds, files) for song in songs]


def _on_disk(song: Song, seconds: float, files: ExitStack) -> Song:
    if song.path != STANDARD_INPUT and not _is_stream(song.path):
        return song
    target = files.enter_context(tempfile.NamedTemporaryFile(dir=temporary.folder()))  # noqa: SIM115
    try:
        if song.path == STANDARD_INPUT:
            _copy_standard_input(target)
        else:
            _copy_stream(song.path, target, seconds)
    except TrackError as error:
        target.close()
        return replace(song, failure=error)
    target.flush()
    return replace(song, path=target.name)


def _is_stream(path: str) -> bool:
    if not storage.is_local(path):
        return False
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or os.path.abspath(path).startswith(OF_PROCESS))


def _copy_standard_input(target: IO[bytes]) -> None:
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    size = 0
    while block := sys.stdin.buffer.read(1 << 20):
        size += len(block)
        if size > MOST_BYTES:
            raise UsageError(f"standard input has more than {console.human_bytes(MOST_BYTES)}: give a file")
        target.write(block)


def _copy_stream(path: str, target: IO[bytes], seconds: float) -> None:
    """Copy a pipe or a device; TrackErrors are unreadable_audio, too_large and timeout."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer for ever.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _copy_until_end(source, target, seconds)
        finally:
            os.close(source)
    except OSError as error:
        raise TrackError("unreadable_audio", f"{path}: {error.strerror}: check the path") from error


def _copy_until_end(source: int, target: IO[bytes], seconds: float) -> None:
    deadline, size, poll = time.monotonic() + seconds, 0, select.poll()
    poll.register(source, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            raise TrackError("timeout", f"not at its end within {seconds:g} s: --timeout {2 * seconds:g} waits longer")
        try:
            block = os.read(source, 1 << 20)
        except BlockingIOError:
            continue
        if not block:
            return
        size += len(block)
        if size > MOST_BYTES:
            raise TrackError("too_large", f"more than {console.human_bytes(MOST_BYTES)}: give a file")
        target.write(block)
