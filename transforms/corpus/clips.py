"""The mp3 files of a corpus, one at a time."""

import os

import numpy as np

from transforms.console import naming
from transforms.corpus.broken import BY_NAME, broken_bytes
from transforms.corpus.encode import encode_mp3
from transforms.corpus.options import CorpusOptions
from transforms.corpus.plan import Song
from transforms.corpus.synth import synthesise
from transforms.corpus.voices import SAMPLE_RATE


def write_clip(song: Song, folder: str, options: CorpusOptions) -> None:
    """Makes a song's file and writes it to its place under `folder`, whose subfolder is there; an absent one is not."""
    content = clip_bytes(song, options)
    if content is None:
        return
    path = os.path.join(folder, song.member)
    with naming(path), open(path, "wb") as file:
        file.write(content)


def clip_bytes(song: Song, options: CorpusOptions) -> bytes | None:
    """The file's bytes, or None where the corpus has a row without a file. They depend on the arguments alone."""
    if not song.broken:
        return _mp3(song, options, options.clip_seconds)
    seconds = BY_NAME[song.broken].seconds
    mp3 = b"" if seconds is None else _mp3(song, options, seconds or options.clip_seconds)
    return broken_bytes(song.broken, mp3, options.seed)


def _mp3(song: Song, options: CorpusOptions, seconds: float) -> bytes:
    if song.silent:
        samples = np.zeros((round(seconds * SAMPLE_RATE), 2), np.float32)
    else:
        samples = synthesise(song.genre, song.artist, song.track_id, seconds, options.seed)
    return encode_mp3(samples, song.sample_rate, song.channels, song.bitrate)
