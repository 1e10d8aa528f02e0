"""FMA's archives: which there are, and how one is downloaded and checked against its published SHA-1 sum."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from transforms import storage
from transforms.catalog.fetch import Retry, fetch, hash_of, open_part
from transforms.errors import FmaError, UsageError
from transforms.runtime.console import human_bytes, log
from transforms.runtime.invocation import command_line
from transforms.runtime.os_errors import annotate_os_errors

BASE_URL = "https://os.unil.cloud.switch.ch/fma"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive on FMA's server."""

    name: str  # its file name, on the server and here
    sha1: str  # its published SHA-1 sum, in hexadecimal
    size: int  # its approximate size in bytes, used where the server does not tell the exact one


# Sums and sizes as published in the README of https://github.com/mdeff/fma
ARCHIVES = {
    "metadata": Archive("fma_metadata.zip", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 342 << 20),
    "small": Archive("fma_small.zip", "ade154f733639d52e35e32f5593efe5be76c6d70", int(7.2 * 2**30)),
    "medium": Archive("fma_medium.zip", "c67b69ea232021025fca9231fc1c7c1a063ab50b", 22 << 30),
    "large": Archive("fma_large.zip", "497109f4dd721066b5ce5e5f250ec604dc78939e", 93 << 30),
    "full": Archive("fma_full.zip", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab", 879 << 30),
}


def choose_archives(subset: str | None, only: str | None = None, no_metadata: bool = False) -> list[Archive]:
    """Return the archives that a set of options asks for, metadata first."""
    if only:
        return [ARCHIVES[only]]
    if not subset:
        raise UsageError(
            "--subset is needed: small, medium, large or full; "
            f"example: {command_line('download', '--subset', 'small', '--out', 'data')}"
        )
    return ([] if no_metadata else [ARCHIVES["metadata"]]) + [ARCHIVES[subset]]


def check_base_url(url: str) -> None:
    """Raise UsageError unless `url` is a web address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a host or port that cannot be one
        good = False
    if not good:
        raise UsageError(f"--base-url {url}: not a web address; one starts with https:// or http://")


def free_space(folder: str) -> int:
    """Return the bytes that can still be written below `folder`; without limit in a bucket."""
    return shutil.disk_usage(folder).free if storage.is_local(folder) else sys.maxsize


def download(
    archive: Archive,
    out: str,
    *,
    base_url: str = BASE_URL,
    check: bool = False,
    retry: Retry = Retry(),  # noqa: B008  (frozen)
    free: Callable[[str], int] = free_space,
) -> str:
    """Download one archive to `out/NAME`, resuming `out/NAME.part` where an earlier run left one.

    Args:
      out: a folder; made where it is absent.
      base_url: the folder on the web that holds the archive.
      check: hash an archive that is already there even if its stamp says that this was done.
      retry: when to give up on a broken connection.
      free: the bytes that can be written below a folder.

    Returns:
      The path, whose bytes have the archive's SHA-1.

    Raises:
      FmaError: the server refuses or cannot be reached, the disk is too small, or the bytes are not the archive's.
    """
    storage.make_folder(out)
    path, url = storage.join(out, archive.name), f"{base_url.rstrip('/')}/{archive.name}"
    if storage.exists(path):
        _check_present(archive, path, check)
        return path
    with annotate_os_errors(f"{path}.part"), open_part(f"{path}.part") as part:
        if part.digest() != archive.sha1:
            fetch(url, part, size=archive.size, free=lambda: free(out), retry=retry)
        got = part.digest()
        if got != archive.sha1:
            part.remove()
            raise FmaError(
                f"{url} is not the archive that FMA published: SHA-1 expected {archive.sha1}, got {got} "
                f"({human_bytes(part.size)}, removed); run again or give another --base-url"
            )
        part.keep_as(path)
    storage.write_bytes(f"{path}.sha1", _stamp(archive, path))
    return path


def _check_present(archive: Archive, path: str, check: bool) -> None:
    """Raise FmaError unless the finished file is the archive; hash it unless its stamp says that this was done."""
    stamp = f"{path}.sha1"
    if check or not storage.exists(stamp) or storage.read_bytes(stamp) != _stamp(archive, path):
        got = hash_of(path, "sha1")
        if got != archive.sha1:
            raise FmaError(
                f"{path} is there but is not the archive that FMA published: SHA-1 expected {archive.sha1}, got {got}; "
                "move it away and run again"
            )
        storage.write_bytes(stamp, _stamp(archive, path))
    log(f"{path}: already complete")


def _stamp(archive: Archive, path: str) -> bytes:
    """Return a line for `sha1sum -c`, and a comment that changes with the file, so that it need not be hashed again."""
    return f"{archive.sha1}  {archive.name}\n# {storage.fingerprint(path)}\n".encode()
