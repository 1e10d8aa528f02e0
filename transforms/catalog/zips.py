"""Zip archives, read in place; one error for all the ways in which the standard library reports damage."""

import errno
import functools
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO, NamedTuple, cast

from transforms import storage

LARGEST_MEMBER = 2 << 30
"""Bytes that a file may unpack to: three hours of 16-bit stereo wav. A larger claim is taken for a zip bomb."""

LARGEST_EXTRA = 1 << 10
"""Bytes that may stand between a member's name and its data, dates and the like: a few dozen in most zips."""

PACKED_AT_ONCE = 4 << 10  # bytes of bz2 or LZMA that are unpacked at once: up to 80 MB, for the densest bz2
UNPACKED_AT_ONCE = 1 << 20  # bytes that are asked of a member at once: the csv module's 8 KiB would be slower
MOST_AT_ONCE = 64 << 20  # bytes of a member that are fetched in one request


class DamagedZipError(Exception):
    """The zip, or what was read from it, is damaged; the message says how."""


@contextmanager
def translate_zip_errors() -> Iterator[None]:
    """Turn what zipfile, zlib, bz2 and lzma raise on damaged data or unknown compressions into DamagedZipError.

    Errors of a disk or a network pass unchanged.
    """
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, UnicodeDecodeError) as error:
        raise DamagedZipError(str(error)) from error
    except EOFError as error:
        raise DamagedZipError("it is cut short") from error
    except OSError as error:
        # bz2 reports damage by an OSError without a number, and a damaged directory leads to a place before the file's
        # beginning (EINVAL); errors of disks and networks have other numbers or classes of their own.
        if type(error) is not OSError or error.errno not in (None, errno.EINVAL):
            raise
        raise DamagedZipError(str(error)) from error


class Member(NamedTuple):
    """A file in a zip's directory: its bytes unpacked and its crc32."""

    size: int
    crc32: int


def list_members(path: str) -> dict[str, Member]:
    """Return a zip's files by name, without names that are absolute or lead out of the zip.

    Raises:
      DamagedZipError: it is not a zip, or a damaged one.
      OSError: there is no such file, or it cannot be read.
    """
    with translate_zip_errors(), storage.open_read(path) as file, zipfile.ZipFile(file) as archive:
        return {info.filename: Member(info.file_size, info.CRC) for info in archive.infolist() if _is_safe(info)}


def _is_safe(info: zipfile.ZipInfo) -> bool:
    return not (info.is_dir() or info.filename.startswith("/") or ".." in info.filename.split("/"))


def find_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Find the file of that name.

    Raises:
      KeyError: there is none.
      DamagedZipError: there are several different ones.
    """
    info = archive.getinfo(name)
    if len(archive.NameToInfo) < len(archive.infolist()):
        found = [(other.file_size, other.CRC) for other in archive.infolist() if other.filename == name]
        if len(set(found)) > 1:
            raise DamagedZipError(f"the zip holds {len(found)} different files of that name")
    return info


def prepare_reading(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Announce that a member is about to be read, so that one request to a bucket fetches its header and bytes."""
    header = 30 + len(info.filename.encode()) + LARGEST_EXTRA
    if archive.fp:
        storage.expect(cast(BinaryIO, archive.fp), info.header_offset, header + min(info.compress_size, MOST_AT_ONCE))


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """Open a member to be read from its beginning on, in little memory whatever it unpacks to."""
    member = archive.open(info)
    bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return io.BufferedReader(cast(Any, member if bounded else _InSteps(member)), UNPACKED_AT_ONCE)


class _InSteps(io.RawIOBase):
    """A member of bz2 or LZMA: asked for n bytes, zipfile unpacks all that n packed bytes hold."""

    def __init__(self, member: IO[bytes]):
        self._member = member

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._member.read(min(len(buffer), PACKED_AT_ONCE))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._member.close()
        super().close()


def open_cached(path: str) -> zipfile.ZipFile:
    """Open a zip that stays open, so that each process parses its 100,000 entries once; do not close it."""
    return _open(path, os.getpid())


@functools.lru_cache(maxsize=4)
def _open(path: str, process: int) -> zipfile.ZipFile:
    """Open a zip; `process` is part of the key because a fork would share the file position with its parent."""
    return zipfile.ZipFile(storage.open_read(path))
