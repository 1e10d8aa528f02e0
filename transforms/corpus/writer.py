"""Writes a corpus to a folder or to zips; an interrupted one is completed by the same command."""

import contextlib
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from transforms import storage
from transforms.corpus.broken import BY_NAME, broken_bytes
from transforms.corpus.options import SUBSETS, CorpusOptions, bitrate_range, validate
from transforms.corpus.plan import Song, plan_songs
from transforms.corpus.sound import SAMPLE_RATE, synthesise
from transforms.corpus.summary import CorpusSummary
from transforms.corpus.tables import genres_csv, tracks_csv
from transforms.errors import FmaError, UsageError
from transforms.runtime import console
from transforms.runtime.console import annotate_os_errors


def encode_mp3(samples: NDArray[np.float32], sample_rate: int, channels: int, bitrate: int) -> bytes:
    """An mp3 file with a constant bit rate.

    Args:
      samples: [n, 2] float32 at 44.1 kHz.
      sample_rate: of the file, Hz; another one than 44.1 kHz is resampled to.
      channels: 1 for the mean of both, 2.
      bitrate: kb/s, one that `transforms.corpus.options.fit_bitrate` returns.

    Raises:
      FmaError: libsndfile has no LAME, or no room.
    """
    if channels == 1:
        samples = samples.mean(axis=1, keepdims=True)
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, SAMPLE_RATE, sample_rate, "HQ")
    try:
        return _encode(np.clip(samples, -1, 1), sample_rate, bitrate)
    except soundfile.LibsndfileError as error:
        raise FmaError(f"libsndfile writes no mp3 here ({error.error_string}): soundfile's own wheels can") from error


def _encode(samples: NDArray[np.float32], sample_rate: int, bitrate: int) -> bytes:
    options: dict[str, Any] = {
        "format": "MP3",
        "subtype": "MPEG_LAYER_III",
        "compression_level": _compression_level(bitrate, sample_rate),
        "bitrate_mode": "CONSTANT",
    }
    if not hasattr(os, "memfd_create"):
        file = io.BytesIO()
        soundfile.write(file, samples, sample_rate, **options)
        return file.getvalue()
    # A file in memory, where there is such a thing: LAME's thousand small writes then need not wait for Python's lock.
    with open(os.memfd_create("mp3"), "w+b") as memory:
        soundfile.write(memory.fileno(), samples, sample_rate, closefd=False, **options)
        memory.seek(0)
        return memory.read()


def _compression_level(bitrate: int, sample_rate: int) -> float:
    """What libsndfile turns into that bit rate: the whole part of a line from the highest (0) to the lowest (1).

    So in mpeg_l3_encode.c of libsndfile 1.1 and later; aiming half a kb/s higher keeps the whole part where it belongs.
    """
    lowest, highest = bitrate_range(sample_rate)
    return max(0.0, (highest - bitrate - 0.5) / (highest - lowest))


def write_clip(song: Song, folder: str, options: CorpusOptions) -> None:
    """Makes a song's file and writes it to its place under `folder`, whose subfolder is there; an absent one is not."""
    content = clip_bytes(song, options)
    if content is None:
        return
    path = os.path.join(folder, song.member)
    with annotate_os_errors(path), open(path, "wb") as file:
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


DATE = (2017, 4, 1, 0, 0, 0)  # a fixed one, so that equal options give equal bytes
README = b"""A synthetic corpus in the form of FMA, a dataset for music analysis (https://arxiv.org/abs/1612.01840).
Made by `fma sample`: every sound, name and licence in it is made up.
"""


def write_archives(out: str, songs: Iterable[Song], largest: str) -> list[str]:
    """Packs what is under `out`; returns the paths written.

    Args:
      out: the corpus, with audio/ and fma_metadata/ complete.
      songs: its rows; those without a file are left out.
      largest: the largest subset it holds. There is an archive for small and, if it is there, for medium.
    """
    songs = list(songs)
    paths = []
    for place, subset in enumerate(SUBSETS[:2]):
        if place <= SUBSETS.index(largest):
            members = [song.member for song in songs if song.subset in SUBSETS[: place + 1]]
            files = {f"fma_{subset}/{member}": os.path.join(out, "audio", member) for member in members}
            paths.append(_write_zip(out, f"fma_{subset}", files, zipfile.ZIP_STORED))
    tables = [f"fma_metadata/{name}" for name in ("tracks.csv", "genres.csv")]
    files = {table: os.path.join(out, table) for table in tables}
    return [*paths, _write_zip(out, "fma_metadata", files, zipfile.ZIP_BZIP2)]


def _write_zip(out: str, name: str, files: dict[str, str], compression: int) -> str:
    """One archive: a README, SHA-1 sums as `sha1sum -c` reads them, and the files, in this order."""
    path = os.path.join(out, f"{name}.zip")
    present = {member: source for member, source in files.items() if os.path.exists(source)}
    sums = "".join(f"{_sha1(source)}  {member.partition('/')[2]}\n" for member, source in present.items())
    with annotate_os_errors(path), zipfile.ZipFile(path, "w") as archive:
        for member, content in ((f"{name}/README.txt", README), (f"{name}/checksums", sums.encode())):
            archive.writestr(_entry(member, compression), content)
        for member, source in present.items():
            with open(source, "rb") as file:
                archive.writestr(_entry(member, compression), file.read())
    return path


def _entry(member: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(member, DATE)
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16  # else unzip makes files that nobody may read
    return entry


def _sha1(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


FORMAT = 2  # goes up when equal options give other bytes
COMPLETE = "corpus.json"  # written last: what it lies beside is a whole corpus
STARTED = "corpus.partial.json"


def write_corpus(
    out: str | os.PathLike[str], options: CorpusOptions | None = None, *, jobs: int = 1, progress: bool = False
) -> CorpusSummary:
    """Writes a corpus, or finds the same one already there.

    Args:
      out: a folder that is absent, empty, or holds a corpus (whole or begun) with equal options. Where it is in a
        bucket, the corpus is made on this machine first.
      options: what to make; the bytes depend on nothing else.
      jobs: threads.
      progress: show it on standard error.

    Raises:
      UsageError: an option is out of range, or `out` holds something else.
      OSError: a file cannot be written.
    """
    out = os.fspath(out)
    options = validate(options or CorpusOptions())
    songs = plan_songs(options)
    summary = CorpusSummary(out=out, options=options, songs=tuple(songs), written=not is_there(out, options))
    if summary.written and storage.is_local(out):
        _write(summary, jobs, progress)
    elif summary.written:
        with tempfile.TemporaryDirectory(prefix="fma-sample-") as folder:
            _write(replace(summary, out=folder), jobs, progress)
            _upload(folder, summary)
    return summary


def _upload(folder: str, summary: CorpusSummary) -> None:
    """Moves a finished corpus to where it is to lie."""
    started = storage.join(summary.out, STARTED)
    storage.write_bytes(started, _stamp(summary.options))
    for path, _ in sorted(storage.list_files(folder), key=lambda entry: entry[0] == os.path.join(folder, COMPLETE)):
        storage.publish(path, storage.join(summary.out, os.path.relpath(path, folder)))
    storage.remove(started)


def is_there(out: str, options: CorpusOptions) -> bool:
    """Whether `out` holds this corpus, whole; raises UsageError where it holds anything else than a part of it."""
    if not any(storage.list_files(out)):
        return False
    for name in (COMPLETE, STARTED):
        path = storage.join(out, name)
        if storage.exists(path):
            _check_same(out, path, options)
            return name == COMPLETE
    raise UsageError(f"--out {out} is not empty and holds no corpus: choose another folder")


def _check_same(out: str, path: str, options: CorpusOptions) -> None:
    want = {"format": FORMAT, **options.to_json()}
    try:
        have = dict(json.loads(storage.read_bytes(path)))
    except (ValueError, TypeError):
        raise UsageError(f"{path} is not what fma sample writes: choose another --out") from None
    changed = [f"{name} is {have.get(name)}, not {value}" for name, value in want.items() if have.get(name) != value]
    if changed:
        raise UsageError(f"--out {out} holds another corpus ({'; '.join(changed)}): remove it or choose another folder")


def _stamp(options: CorpusOptions) -> bytes:
    return (json.dumps({"format": FORMAT, **options.to_json()}, indent=1) + "\n").encode()


def _write(summary: CorpusSummary, jobs: int, progress: bool) -> None:
    out, options, songs = summary.out, summary.options, summary.songs
    for folder in (summary.metadata, *{os.path.dirname(os.path.join(summary.audio, song.member)) for song in songs}):
        os.makedirs(folder, exist_ok=True)
    _write_file(os.path.join(out, STARTED), _stamp(options))
    _write_file(os.path.join(summary.metadata, "tracks.csv"), tracks_csv(songs, options))
    _write_file(os.path.join(summary.metadata, "genres.csv"), genres_csv(songs))
    bar = console.progress("sample", len(songs), "clips") if progress else contextlib.nullcontext()
    with bar as shown:
        for _ in _write_clips(summary, jobs):
            if shown:
                shown.advance()
    if options.archives:
        write_archives(out, songs, options.subset)
    os.replace(os.path.join(out, STARTED), os.path.join(out, COMPLETE))


def _write_clips(summary: CorpusSummary, jobs: int) -> Iterator[None]:
    """Yields after each clip. Threads do: nine tenths of the time is LAME's, which runs without Python's lock."""
    write = partial(write_clip, folder=summary.audio, options=summary.options)
    if jobs == 1:
        yield from map(write, summary.songs)
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="clip") as pool:
        yield from pool.map(write, summary.songs)


def _write_file(path: str, content: bytes) -> None:
    with console.annotate_os_errors(path), open(path, "wb") as file:
        file.write(content)
