"""Writes a corpus to a folder, by one thread or several; an interrupted one is made again by the same command."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from transforms import console, storage
from transforms.corpus.archives import write_archives
from transforms.corpus.options import CorpusOptions, validate
from transforms.corpus.plan import plan_songs
from transforms.corpus.summary import CorpusSummary
from transforms.corpus.tables import genres_csv, tracks_csv
from transforms.errors import UsageError

FORMAT = 1  # goes up when equal options give other bytes
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
    from transforms.corpus.clips import write_clip

    write = partial(write_clip, folder=summary.audio, options=summary.options)
    if jobs == 1:
        yield from map(write, summary.songs)
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="clip") as pool:
        yield from pool.map(write, summary.songs)


def _write_file(path: str, content: bytes) -> None:
    with console.naming(path), open(path, "wb") as file:
        file.write(content)
