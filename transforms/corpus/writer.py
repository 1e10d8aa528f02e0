"""Writing a corpus to a folder or a bucket and to zips; the same command completes an interrupted one."""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import soxr
from numpy.typing import NDArray

from transforms import storage
from transforms.audio.mp3 import encode_mp3
from transforms.corpus.options import SUBSETS, CorpusOptions, validate
from transforms.corpus.plan import BREAKAGES, Song, broken_bytes, plan_songs
from transforms.corpus.sound import SAMPLE_RATE, synthesise
from transforms.corpus.tables import genres_csv, tracks_csv
from transforms.errors import UsageError
from transforms.runtime import console, temporary
from transforms.runtime.os_errors import annotate_os_errors
from transforms.storage.local import open_own

DATE = (2017, 4, 1, 0, 0, 0)  # a fixed one, so that equal options give equal bytes
README = b"""A synthetic corpus in the form of FMA, a dataset for music analysis (https://arxiv.org/abs/1612.01840).
Made by `fma sample`: every sound, name and licence in it is made up.
"""

FORMAT = 2  # goes up when equal options give other bytes
COMPLETE = "corpus.json"  # written last: marks a complete corpus
STARTED = "corpus.partial.json"


@dataclass(frozen=True, slots=True)
class Expected:
    """What ingest of one subset should find."""

    tracks: tuple[int, ...]  # ids of those that become records
    failures: dict[int, str]  # reasons by id
    skipped: dict[str, int]  # number of rows left out, by reason


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """A corpus on disk."""

    out: str  # its folder
    options: CorpusOptions  # that it was made with
    songs: tuple[Song, ...]  # every row, by id
    written: bool  # False where it was there already

    @property
    def audio(self) -> str:
        """Folder of the clips, for --audio."""
        return os.path.join(self.out, "audio")

    @property
    def metadata(self) -> str:
        """Folder of the csv files, for --metadata."""
        return os.path.join(self.out, "fma_metadata")

    @property
    def intact(self) -> tuple[Song, ...]:
        """Rows with a playable file, labelled or not."""
        return tuple(song for song in self.songs if not song.broken)

    def expected(self, subset: str) -> Expected:
        """Return what ingest of a subset (with all smaller ones) should find."""
        inside = [song for song in self.songs if song.subset in SUBSETS[: SUBSETS.index(subset) + 1]]
        unlabelled = sum(not song.genres for song in inside)
        skipped = {"not_in_subset": len(self.songs) - len(inside), "no_genre": unlabelled}
        return Expected(
            tracks=tuple(song.track_id for song in inside if song.genres and not song.broken),
            failures={song.track_id: BREAKAGES[song.broken].reason for song in inside if song.broken},
            skipped={reason: count for reason, count in skipped.items() if count},
        )


def render_mp3(samples: NDArray[np.float32], sample_rate: int, channels: int, bitrate: int) -> bytes:
    """Make an mp3 file of synthesised sound.

    Args:
      samples: [n, 2] float32 at 44.1 kHz.
      sample_rate: of the file, in Hz.
      channels: 1 for the mean of both, or 2.
      bitrate: kb/s, as `fit_bitrate` returns it.

    Raises:
      FmaError: libsndfile cannot write mp3 here.
    """
    if channels == 1:
        samples = samples.mean(axis=1, keepdims=True)
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, SAMPLE_RATE, sample_rate, "HQ")
    return encode_mp3(samples, sample_rate, bitrate)


def write_clip(song: Song, folder: str, options: CorpusOptions) -> None:
    """Make a song's file and write it to its place below `folder`, whose subfolders exist."""
    content = clip_bytes(song, options)
    if content is not None:
        _write_file(os.path.join(folder, song.member), content)


def clip_bytes(song: Song, options: CorpusOptions) -> bytes | None:
    """Return the file's bytes, which depend on the arguments alone, or None for a row without a file."""
    if not song.broken:
        return _mp3(song, options, options.clip_seconds)
    seconds = BREAKAGES[song.broken].seconds
    mp3 = b"" if seconds is None else _mp3(song, options, seconds or options.clip_seconds)
    return broken_bytes(song.broken, mp3, options.seed)


def _mp3(song: Song, options: CorpusOptions, seconds: float) -> bytes:
    if song.silent:
        samples = np.zeros((round(seconds * SAMPLE_RATE), 2), np.float32)
    else:
        which = song.artist, song.track_id, seconds, options.seed
        samples = synthesise(song.genre, *which, sub_genre=song.own_sound)
        if song.second:
            samples = np.float32(0.5) * (samples + synthesise(song.second, *which))
    return render_mp3(samples, song.sample_rate, song.channels, song.bitrate)


def write_archives(out: str, songs: Sequence[Song], largest: str) -> None:
    """Pack the metadata, and subsets small and medium up to `largest`."""
    for place, subset in enumerate(SUBSETS[:2]):
        if place <= SUBSETS.index(largest):
            members = [song.member for song in songs if song.subset in SUBSETS[: place + 1]]
            files = {f"fma_{subset}/{member}": os.path.join(out, "audio", member) for member in members}
            _write_zip(out, f"fma_{subset}", files, zipfile.ZIP_STORED)
    tables = [f"fma_metadata/{name}" for name in ("tracks.csv", "genres.csv")]
    files = {table: os.path.join(out, table) for table in tables}
    _write_zip(out, "fma_metadata", files, zipfile.ZIP_BZIP2)


def _write_zip(out: str, name: str, files: dict[str, str], compression: int) -> None:
    """Write one archive: a README, SHA-1 sums as `sha1sum -c` reads them, and the files, in this order."""
    path = os.path.join(out, f"{name}.zip")
    present = {member: source for member, source in files.items() if os.path.exists(source)}
    sums = "".join(f"{_sha1(source)}  {member.partition('/')[2]}\n" for member, source in present.items())
    with annotate_os_errors(path), zipfile.ZipFile(path, "w") as archive:
        for member, content in ((f"{name}/README.txt", README), (f"{name}/checksums", sums.encode())):
            archive.writestr(_entry(member, compression), content)
        for member, source in present.items():
            with open(source, "rb") as file:
                archive.writestr(_entry(member, compression), file.read())


def _entry(member: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(member, DATE)
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16  # else unzip makes unreadable files
    return entry


def _sha1(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def write_corpus(
    out: str | os.PathLike[str], options: CorpusOptions | None = None, *, jobs: int = 1, progress: bool = False
) -> CorpusSummary:
    """Write a corpus, unless the same one is there already.

    Args:
      out: a folder that is absent, empty, or holds a corpus (complete or not) with equal options. For a bucket, the
        corpus is made on this machine and then uploaded.
      options: all that the bytes depend on.
      jobs: threads.
      progress: whether to show it on standard error.

    Raises:
      UsageError: an option is out of range, or `out` holds something else.
      OSError: a file cannot be written.
    """
    out = os.fspath(out)
    options = validate(options or CorpusOptions())
    summary = CorpusSummary(out, options, tuple(plan_songs(options)), written=not is_complete(out, options))
    if summary.written and storage.is_local(out):
        _write(summary, jobs, progress)
    elif summary.written:
        with temporary.new_folder() as folder:
            _write(replace(summary, out=folder), jobs, progress)
            _upload(folder, summary)
    return summary


def _upload(folder: str, summary: CorpusSummary) -> None:
    """Move a finished corpus to its bucket."""
    started = storage.join(summary.out, STARTED)
    storage.write_bytes(started, _stamp(summary.options))
    for path, _ in sorted(storage.list_files(folder), key=lambda entry: entry[0] == os.path.join(folder, COMPLETE)):
        storage.publish(path, storage.join(summary.out, os.path.relpath(path, folder)))
    storage.remove(started)


def is_complete(out: str, options: CorpusOptions) -> bool:
    """Return whether `out` holds this complete corpus; raise UsageError where it holds anything but a part of it."""
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
        have = CorpusOptions().to_json() | dict(json.loads(storage.read_bytes(path)))
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
    """Yield after each clip. Threads suffice: LAME takes nine tenths of the time, without Python's lock."""
    write = partial(write_clip, folder=summary.audio, options=summary.options)
    if jobs == 1:
        yield from map(write, summary.songs)
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="clip") as pool:
        yield from pool.map(write, summary.songs)


def _write_file(path: str, content: bytes) -> None:
    with annotate_os_errors(path), open_own(path, "wb") as file:
        file.write(content)
