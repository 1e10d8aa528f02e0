"""Opens a csv wherever it lies: as it is, compressed, or inside a zip, which is read in place."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from transforms import storage
from transforms.errors import UsageError

DECOMPRESSORS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
_DAMAGE = (zipfile.BadZipFile, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)


def split_address(path: str) -> tuple[str, str]:
    """(file, member) of "fma_metadata.zip!echonest.csv"; the member is "" where none is named."""
    head, separator, member = path.rpartition("!")
    return (head, member) if separator and head.endswith(".zip") else (path, "")


@contextmanager
def open_table(path: str, member: str) -> Iterator[tuple[BinaryIO, str]]:
    """The csv's bytes, and what to call it in messages.

    Args:
      path: a file, a zip, or zip!member.
      member: the one to take from a zip where the path names none; with or without its folder.

    Raises:
      UsageError: there is no such file or member, or it is damaged.
    """
    path, named = split_address(path)
    try:
        with storage.open_read(path) as file:
            if path.endswith(".zip"):
                with zipfile.ZipFile(file) as archive:
                    name = _find(archive, path, named or member)
                    with archive.open(name) as inside:
                        yield io.BufferedReader(cast(Any, inside), 1 << 20), f"{path}!{name}"
                return
            ending = next((ending for ending in DECOMPRESSORS if path.endswith(ending)), None)
            yield (DECOMPRESSORS[ending](file) if ending else file), path
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"{path}: no such file (name the csv, or the zip that holds it)") from None
    except _DAMAGE as error:
        raise UsageError(f"{path} is damaged ({error}); download it again") from error


def _find(archive: zipfile.ZipFile, path: str, member: str) -> str:
    names = [name for name in archive.namelist() if name == member or name.endswith("/" + member)]
    if not names:
        raise UsageError(f"{path} holds no {member}")
    return min(names, key=len)
