"""Location of each track's audio, found once when a run is planned, and how a worker opens it."""

import io
import posixpath
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, BinaryIO

from transforms import storage
from transforms.catalog.zips import (
    LARGEST_MEMBER,
    DamagedZipError,
    Member,
    find_member,
    list_members,
    open_cached,
    prepare_reading,
    translate_zip_errors,
)
from transforms.errors import TrackError, UsageError
from transforms.tracks import Track

UNIX = 3  # the system of a zip's member whose attributes are those of Unix (APPNOTE.TXT, 4.4.2)
IN_MEMORY = 32 << 20  # bytes; every clip of 30 s, and most songs
MISSING = "put the file there, or correct the path in the metadata"
UNPACK = "unpack the zip, and give its folder"
FMA_NAME = re.compile(r"((?:[^/]+/)*)\d{3}/(\d{6,})\.mp3")
FMA_FOLDER = re.compile(r"\d{3}")


def locate(tracks: list[Track], audio: str, form: str) -> list[Track]:
    """Find each track's audio.

    Args:
      tracks: from the catalog; with form "csv" each has the path that the csv names.
      audio: a folder or a zip. With form "fma" it holds FMA's NNN/NNNNNN.mp3, or folders of which one does. With form
        "csv" relative paths are below it; absolute paths and addresses are taken as they are.
      form: "fma" or "csv".

    Returns:
      The tracks in the same order with path, archive and size set. Where a file is absent or not accessible, the path
      is where it should be and the size None; `open_track` then raises the reason.

    Raises:
      UsageError: there is no such folder or zip, it cannot be read, a path leaves it, or it holds none of the tracks.
    """
    try:
        if storage.is_dir(audio):
            located = _in_fma_folder(tracks, audio) if form == "fma" else _in_folder(tracks, audio)
        else:
            members = list_members(audio)
            located = _in_fma_zip(tracks, audio, members) if form == "fma" else _in_zip(tracks, audio, members)
    except DamagedZipError as error:
        raise UsageError(f"--audio {audio}: neither a folder nor a zip that can be read ({error})") from None
    except PermissionError:
        raise UsageError(f"--audio {audio}: no permission to read it") from None
    except storage.NotAFileError as error:
        raise UsageError(f"--audio {audio}: {error.strerror}; give a folder or a zip") from None
    except OSError as error:
        if not storage.is_missing(error):
            raise
        raise UsageError(f"--audio {audio}: no such folder or zip") from None
    if located and all(track.size is None for track in located):
        raise UsageError(
            f"--audio {audio} holds none of the {len(located):,} tracks: looked for {located[0].locator} and so on"
            f"{_did_you_mean(located[0])}; "
            + ("give FMA's zip or the folder with 000/, 001/, ..." if form == "fma" else "paths in the csv start there")
        )
    return located


def locate_again(tracks: list[Track], audio: str) -> list[Track]:
    """Find the audio of a dataset's tracks in another place than the one that it was ingested from.

    Args:
      tracks: all of the dataset, as its ledgers have them.
      audio: a folder or a zip with FMA's NNN/NNNNNN.mp3, or with the files as they lie below the folder that held all.

    Returns and raises as `locate` does.
    """
    if all(track.path.endswith(fma_path(track.track_id)) for track in tracks):
        return locate([replace(track, archive="", size=None, crc32=None) for track in tracks], audio, "fma")
    folders = [track.path.split("/")[:-1] for track in tracks if not track.archive]
    shared = len(posixpath.commonprefix(folders)) if folders else 0
    moved = [
        replace(
            track,
            path=track.path if track.archive else "/".join(track.path.split("/")[shared:]),
            archive="",
            size=None,
            crc32=None,
        )
        for track in tracks
    ]
    return locate(moved, audio, "csv")


def fma_path(track_id: int) -> str:
    """Return FMA's path of a track, such as `000/000002.mp3`."""
    name = f"{track_id:06d}"
    return f"{name[:3]}/{name}.mp3"


def open_track(track: Track) -> BinaryIO:
    """Open a located track's audio, as a seekable file at its beginning.

    Up to 32 MiB are read into memory. A longer file is returned open, and a longer zip member through a temporary
    file, so memory does not grow with the track. Zips stay open, so that each process parses them once.

    Raises:
      TrackError: missing_audio, unreadable_audio, not_a_file, too_large, or corrupt_audio for a damaged zip member.
      OSError, zipfile.BadZipFile: the zip itself is gone, or the disk or network failed: not the track's fault.
    """
    if track.archive:
        return _open_member(open_cached(track.archive), track)
    try:
        file = storage.open_read(track.path)
        data = _read_start(file, track.size)
    except OSError as error:
        raise _track_error(track, error) from None
    if len(data) > IN_MEMORY:
        file.seek(0)
        return file if storage.is_local(track.path) else _spooled(file)
    file.close()
    return io.BytesIO(data)


def check_track(track: Track) -> None:
    """Raise what `open_track` does where a file that is in no archive cannot be opened; nothing of it is read."""
    try:
        storage.open_read(track.path).close()
    except OSError as error:
        raise _track_error(track, error) from None


def _track_error(track: Track, error: OSError) -> Exception:
    """Return why a track's file cannot be read, or the error itself where a disk or a network failed."""
    said = f"{track.path}: {(error.strerror or str(error)).lower()}"
    if isinstance(error, storage.NotAFileError):
        return TrackError("not_a_file", f"{said}: put the audio file itself there")
    if storage.is_missing(error):
        return TrackError("missing_audio", said + (_did_you_mean(track) or f": {MISSING}"))
    if isinstance(error, PermissionError):
        return TrackError("unreadable_audio", f"{track.path}: no permission to read it: check the permissions")
    if storage.is_local(track.path) and storage.is_refused(error, track.path):
        return TrackError("unreadable_audio", f"{said}: copy the file elsewhere, and name the copy")
    return error


def _did_you_mean(track: Track) -> str:
    """Return `; did you mean X?` for a missing file that is there in another case or Unicode form, else ""."""
    if track.archive:
        members = open_cached(track.archive).namelist()
        near = next((name for name in members if storage.name_key(name) == storage.name_key(track.path)), None)
    else:
        near = storage.nearest_name(track.path) if storage.is_local(track.path) else None
    return f"; did you mean {near}?" if near else ""


def _read_start(file: BinaryIO, size: int | None) -> bytes:
    """Return the file, or more than IN_MEMORY bytes of a longer one; `size` is what it is thought to have."""
    wanted = min(size or IN_MEMORY, IN_MEMORY) + 1  # read() allocates all that it is asked for
    data = file.read(wanted)
    if len(data) == wanted:  # a large file, or one that has grown
        data += file.read(IN_MEMORY + 1 - wanted)
    return data


def checksum(file: BinaryIO) -> int:
    """Return the crc32 of a file, as zips store it; the file is at its beginning before and after."""
    crc32 = 0
    while block := file.read(1 << 20):
        crc32 = zlib.crc32(block, crc32)
    file.seek(0)
    return crc32


def _in_folder(tracks: list[Track], audio: str) -> list[Track]:
    paths = [track.path if _is_absolute(track.path) else storage.join(audio, _below(track)) for track in tracks]
    sizes = storage.sizes(paths)
    return [replace(track, path=path, size=size) for track, path, size in zip(tracks, paths, sizes, strict=True)]


def _in_zip(tracks: list[Track], audio: str, members: Mapping[str, Member]) -> list[Track]:
    outside = [track.path for track in tracks if _is_absolute(track.path)]
    sizes = dict(zip(outside, storage.sizes(outside), strict=True))
    return [
        replace(track, size=sizes[track.path])
        if _is_absolute(track.path)
        else _as_member(track, audio, _below(track), members)
        for track in tracks
    ]


def _in_fma_folder(tracks: list[Track], audio: str) -> list[Track]:
    """Locate tracks by listing each folder NNN once, which costs less than a request for each track."""
    wanted = {fma_path(track.track_id) for track in tracks}
    best_root = audio
    best: dict[str, int] = {}
    for root in _fma_roots(audio):
        found = _list_wanted(root, wanted)
        if len(found) > len(best):
            best_root, best = root, found
    return [
        replace(track, path=storage.join(best_root, fma_path(track.track_id)), size=best.get(fma_path(track.track_id)))
        for track in tracks
    ]


def _list_wanted(root: str, wanted: set[str]) -> dict[str, int]:
    """Return the sizes of the wanted files below `root`, by their path from there."""
    sizes = {}
    for folder in sorted({path.partition("/")[0] for path in wanted}):
        with _ignore_denied_folders():
            for path, size in storage.list_files(storage.join(root, folder)):
                name = "/".join(path.rsplit("/", 2)[1:])
                if name in wanted:
                    sizes[name] = size
    return sizes


def _fma_roots(audio: str) -> list[str]:
    """Return the folders that hold folders NNN: `audio` itself, else those directly below it."""
    names = storage.list_folders(audio)
    if any(FMA_FOLDER.fullmatch(name) for name in names):
        return [audio]
    roots = []
    for folder in (storage.join(audio, name) for name in names):
        with _ignore_denied_folders():
            if any(FMA_FOLDER.fullmatch(name) for name in storage.list_folders(folder)):
                roots.append(folder)
    return roots


def _in_fma_zip(tracks: list[Track], audio: str, members: Mapping[str, Member]) -> list[Track]:
    """Locate tracks below one folder of the zip, as FMA's have it; of several, the one with the most tracks."""
    wanted = {fma_path(track.track_id) for track in tracks}
    held: dict[str, int] = {}
    for name in members:
        matched = FMA_NAME.fullmatch(name)
        if matched and name[len(matched[1]) :] in wanted:
            held[matched[1]] = held.get(matched[1], 0) + 1
    root = min(held, key=lambda root: (-held[root], root), default="")
    return [_as_member(track, audio, root + fma_path(track.track_id), members) for track in tracks]


def _as_member(track: Track, archive: str, path: str, members: Mapping[str, Member]) -> Track:
    member = members.get(path)
    if member is None:
        return replace(track, path=path, archive=archive)
    return replace(track, path=path, archive=archive, size=member.size, crc32=member.crc32)


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or "://" in path


def _below(track: Track) -> str:
    """Return the track's relative path without `.` and `..`."""
    path = posixpath.normpath(track.path)
    if path == ".." or path.startswith("../"):
        raise UsageError(f"track {track.shown_id}: the path {track.path} leads out of the audio folder")
    return path


@contextmanager
def _ignore_denied_folders() -> Iterator[None]:
    """Treat a folder without permission as empty; `open_track` raises the reason for each of its tracks."""
    try:
        yield
    except PermissionError:
        return


def _open_member(archive: zipfile.ZipFile, track: Track) -> BinaryIO:
    """Unpack the member into memory or a temporary file."""
    try:
        info = find_member(archive, track.path)
    except KeyError:
        hint = _did_you_mean(track) or f": {MISSING}"
        raise TrackError("missing_audio", f"{track.locator}: no such file in the zip{hint}") from None
    except DamagedZipError as error:
        raise TrackError("corrupt_audio", f"{track.locator}: {error}: {UNPACK}") from None
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.create_system == UNIX and kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "something else"
        raise TrackError("not_a_file", f"{track.locator}: {what}, not a file: {UNPACK}")
    if info.flag_bits & 1:
        raise TrackError("unreadable_audio", f"{track.locator}: encrypted: {UNPACK}")
    if info.file_size > LARGEST_MEMBER:
        raise TrackError(
            "too_large", f"{track.locator}: unpacks to {info.file_size:,} bytes, {LARGEST_MEMBER:,} may be: {UNPACK}"
        )
    try:
        prepare_reading(archive, info)
        with translate_zip_errors(), archive.open(info) as member:
            # Asked for a number of bytes, zipfile does not unpack more than the member claims to have.
            return io.BytesIO(member.read(max(1, info.file_size))) if info.file_size <= IN_MEMORY else _spooled(member)
    except DamagedZipError as error:
        raise TrackError("corrupt_audio", f"{track.locator}: {error}: get the zip again") from None


def _spooled(member: IO[bytes]) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    shutil.copyfileobj(member, file, 1 << 20)
    file.seek(0)
    return file
