"""What `fma predict` is asked about: files, folders, and bytes on standard input."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from transforms import console, storage
from transforms.errors import UsageError

STANDARD_INPUT = "-"
MOST_BYTES = 4 << 30
"""Of standard input: a stream without an end must not fill the disk."""

ENDINGS = (
    *("mp3", "wav", "flac", "ogg", "oga", "opus", "aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64"),
    *("m4a", "m4b", "mp4", "aac", "wma", "ape", "wv", "mpc", "mp2", "3gp", "amr"),
)
"""What is tried of a folder. Some of these libsndfile cannot read: they get their reason rather than be passed over."""


@dataclass(frozen=True)
class Song:
    """A file to judge: what to call it, and where it lies."""

    name: str
    path: str


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
    files = [file for file, _ in storage.list_files(path)]
    audio = [file for file in files if file.rpartition(".")[2].lower() in ENDINGS]
    if not audio:
        raise UsageError(f"{path} has no audio files below it (looked for .{', .'.join(ENDINGS)})")
    if len(audio) < len(files):
        console.log(
            f"{path}: left out what is not audio by its name, {len(files) - len(audio):,} of {len(files):,} files"
        )
    return [Song(file, file) for file in audio]


@contextmanager
def on_disk(songs: Sequence[Song]) -> Iterator[list[Song]]:
    """The songs, with standard input as a file for as long as the block lasts."""
    if all(song.path != STANDARD_INPUT for song in songs):
        yield list(songs)
        return
    with tempfile.NamedTemporaryFile(prefix="fma-") as file:
        copy_stream(sys.stdin.buffer, file)
        yield [Song(song.name, file.name) if song.path == STANDARD_INPUT else song for song in songs]


def copy_stream(source: BinaryIO, target) -> None:
    """Copies a stream to a file.

    Raises:
      UsageError: it has more than `MOST_BYTES`.
    """
    size = 0
    while block := source.read(1 << 20):
        size += len(block)
        if size > MOST_BYTES:
            raise UsageError(f"standard input has more than {console.human_bytes(MOST_BYTES)}: give a file")
        target.write(block)
    target.flush()
