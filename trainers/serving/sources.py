"""What `fma predict` is asked about: files, folders, pipes, and bytes on standard input."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from trainers.serving.names import printable
from trainers.serving.streams import copy_standard_input, copy_to_temporary, is_stream
from transforms import storage
from transforms.errors import TrackError, UsageError
from transforms.runtime import console

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
