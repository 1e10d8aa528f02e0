"""Music in folders, one for each genre (`rock/song.mp3`): the tracks that it holds, without any table."""

import os
from collections import Counter
from collections.abc import Iterator

from transforms import storage
from transforms.catalog.genre_tables import check_genre
from transforms.catalog.metadata import (
    ALL_GENRES,
    Catalog,
    GenreOptions,
    merge_taxonomy,
    read_own_taxonomy,
)
from transforms.catalog.zips import DamagedZipError, list_members
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.tracks import Track, number_of

ENDINGS = (
    *("mp3", "wav", "flac", "ogg", "oga", "opus", "aif", "aiff", "aifc", "au", "snd", "caf", "w64", "rf64"),
    *("m4a", "m4b", "mp4", "aac", "wma", "ape", "wv", "mpc", "mp2", "3gp", "amr", "tta", "dsf", "mka", "webm", "ac3"),
)
"""Names of files that are tried as audio."""


def read_folders(audio: str, genres: GenreOptions = ALL_GENRES) -> Catalog:
    """Read the catalog of a folder or a zip with a folder for each genre; splits will be by artist.

    A track's id is its path, its genre the first folder of it, and its artist and title are its file's tags, which are
    read on this machine only: elsewhere, and in a zip, tracks have no artist. Files beside the genres' folders are
    skipped as `no_genre`, unless tracks without a genre are taken; hidden ones, and those that are not audio by their
    names, are left out.

    Raises:
      UsageError: there is no such folder or zip, it cannot be read, or it has no folder with audio.
    """
    paths = [path for path in _paths(audio) if is_audio(path)]
    root = _common_folder(paths) if not storage.is_dir(audio) else ""
    tagged = storage.is_dir(audio) and storage.is_local(audio)
    found, tracks, skipped = read_own_taxonomy(genres), [], Counter[str]()
    taxonomy = merge_taxonomy(found, genres)
    with console.progress("tags", len(paths), "files") as progress:
        for path in paths:
            folder, slash, _ = path[len(root) :].partition("/")
            if slash or genres.unlabelled:
                check_genre(folder, f"{audio}: folder {folder!r}")
                names = taxonomy.close([folder] if slash else [])
                tags = _tags(storage.join(audio, path)) if tagged else {}
                tracks.append(_track(path, taxonomy.top(names), names, tags))
            else:
                skipped["no_genre"] += 1
            progress.advance()
    if not tracks:
        raise UsageError(
            f"{audio} has no folder with audio in it: without --metadata it holds a folder for each genre "
            "(rock/song.mp3)"
        )
    known = frozenset(number_of(path) for path in paths)
    tracks.sort(key=lambda track: track.track_id)
    return Catalog(tracks, dict(skipped), "", "csv", True, known, taxonomy, tuple(genres.held.moved(found)))


def is_audio(path: str) -> bool:
    """Return whether a file is audio by its name."""
    return path.rpartition(".")[2].lower() in ENDINGS


def is_hidden(path: str) -> bool:
    """Return whether a file, or a folder on the way to it, has a name like .Trash, or ._song.mp3 as macOS makes."""
    return path.startswith(".") or "/." in path


def files_below(path: str, above: tuple[os.stat_result, ...] = ()) -> Iterator[str]:
    """List as `storage.list_files` does, but without what is hidden, links to a folder that they lie in (`above`), and
    folders without permission, for which a note is shown.
    """
    if not storage.is_local(path):
        files = (file for file, _ in storage.list_files(path))
        yield from (file for file in files if not is_hidden(file.removeprefix(storage.join(path, ""))))
        return
    here = os.stat(path.removeprefix("file://"))
    if any(os.path.samestat(here, folder) for folder in above):
        return
    try:
        with os.scandir(path.removeprefix("file://")) as found:
            entries = sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except PermissionError:
        console.log(f"note: {path} is left out: no permission to look into it")
        return
    for entry in entries:
        if entry.is_dir():
            yield from files_below(entry.path, (*above, here))
        elif entry.is_file():
            yield entry.path


def _paths(audio: str) -> list[str]:
    """Return the files' paths from `audio` on."""
    if storage.is_dir(audio):
        prefix = storage.join(audio.removeprefix("file://") if storage.is_local(audio) else audio, "")
        return [file.removeprefix(prefix) for file in files_below(audio.rstrip("/") or "/")]
    try:
        return sorted(path for path in list_members(audio) if not is_hidden(path))
    except DamagedZipError as error:
        raise UsageError(f"--audio {audio}: neither a folder nor a zip that can be read ({error})") from None
    except OSError as error:
        raise UsageError(f"--audio {audio}: {(error.strerror or str(error)).lower()}") from None


def _common_folder(paths: list[str]) -> str:
    """Return the folders above all genres, with a slash, as a zip of one folder has them; "" where there are none."""
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return f"{root}/" if root else ""


def _track(path: str, genre: str, genres: tuple[str, ...], tags: dict[str, str]) -> Track:
    return Track(
        track_id=number_of(path),
        genre=genre,
        genres=genres,
        split="",
        path=path,
        artist=tags.get("artist", ""),
        album=tags.get("album", ""),
        title=tags.get("title", ""),
        id_text=path,
    )


def _tags(path: str) -> dict[str, str]:
    """Return artist, album and title, those that the file has; a damaged file has none, and its decoder says why."""
    from tinytag import TinyTag, TinyTagException

    try:
        found = TinyTag.get(path)
    except (TinyTagException, OSError):
        return {}
    values = {name: " ".join((getattr(found, name) or "").split()) for name in ("artist", "album", "title")}
    return {name: value for name, value in values.items() if value}
