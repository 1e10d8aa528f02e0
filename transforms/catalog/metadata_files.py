"""The files of metadata: a table of tracks, and FMA's table of genres beside it, from a folder, a zip or one file."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import BinaryIO

from transforms import storage
from transforms.catalog.lines import limit_lines
from transforms.catalog.zips import LARGEST_MEMBER, DamagedZipError, find_member, open_member
from transforms.errors import UsageError

TRACKS, GENRES = "tracks.csv", "genres.csv"
"""Names of FMA's tables."""


@contextmanager
def open_table(metadata: str, table: str = TRACKS) -> Iterator[tuple[BufferedReader, str]]:
    """Open one of FMA's tables, or the csv that was given in the place of tracks.csv.

    Yield its bytes and what to call it in messages.

    Raises:
      UsageError: the folder or the zip does not have it, or it is encrypted or too large.
    """
    if storage.is_dir(metadata):
        places = [storage.join(metadata, TRACKS), storage.join(metadata, "fma_metadata", TRACKS)]
        found = next((place for place in places if storage.exists(place)), None)
        if found is None:
            raise UsageError(f"{metadata}: the folder holds no {TRACKS} (a csv of your own is named as a file)")
        metadata = found
    with storage.open_read(metadata) as file:
        if not (metadata.endswith(".zip") or zipfile.is_zipfile(file)):
            file.seek(0)
            with _beside(file, metadata, table) as (opened, name):
                yield limit_lines(opened, name), name
            return
        with zipfile.ZipFile(file) as archive:
            info = _find_table(archive, metadata, table)
            name = f"{metadata}!{info.filename}"
            with open_member(archive, info) as member:
                yield limit_lines(member, name), name


@contextmanager
def _beside(file: BinaryIO, tracks: str, table: str) -> Iterator[tuple[BinaryIO, str]]:
    """Yield the table in the folder of the table of tracks, whose file is open."""
    if table == TRACKS:
        yield file, tracks
        return
    path = storage.join(storage.parent(tracks), table)
    if not storage.exists(path):
        raise UsageError(f"{tracks}: there is no {table} beside it, which has the names of its genres")
    with storage.open_read(path) as other:
        yield other, path


def _find_table(archive: zipfile.ZipFile, metadata: str, table: str) -> zipfile.ZipInfo:
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == table]
    if not names:
        raise UsageError(f"{metadata}: no {table} inside; give FMA's fma_metadata.zip")
    name = min(names, key=lambda name: (name.count("/"), name))
    info = find_member(archive, name)
    if info.flag_bits & 1:
        raise UsageError(f"{metadata}: {name} is encrypted; give FMA's fma_metadata.zip as published")
    if info.file_size > LARGEST_MEMBER:
        raise UsageError(f"{metadata}: {name} unpacks to {info.file_size:,} bytes; FMA's has 0.3 GB")
    return info


@contextmanager
def translate_metadata_errors(metadata: str) -> Iterator[None]:
    """Turn what may be wrong with a file that a user named into one line."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{metadata}: no such file or folder") from None
    except PermissionError:
        raise UsageError(f"{metadata}: no permission to read it") from None
    except DamagedZipError as error:
        raise UsageError(f"{metadata}: the zip cannot be read ({error}); download it again") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise UsageError(f"{metadata}: {(error.strerror or str(error)).lower()}") from None
