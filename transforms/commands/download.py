"""`fma download`: FMA's archives, resumed where they broke off and checked against the SHA-1 sums FMA publishes."""

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from transforms import storage
from transforms.catalog.fetch import Part, Retry, fetch, open_part, sha1_of
from transforms.errors import FmaError, UsageError
from transforms.runtime.console import annotate_os_errors, human_bytes, log, say

BASE_URL = "https://os.unil.cloud.switch.ch/fma"
EXAMPLE = "example: fma download --subset small --out data"


@dataclass(frozen=True, slots=True)
class Archive:
    """One of the files to download.

    Attributes:
      name: its file name, on the server and here.
      sha1: its published SHA-1 sum, in hexadecimal.
      size: its approximate size in bytes; used where the server does not tell the exact one.
    """

    name: str
    sha1: str
    size: int


# Sums and sizes as published in the README of https://github.com/mdeff/fma
ARCHIVES = {
    "metadata": Archive("fma_metadata.zip", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 342 << 20),
    "small": Archive("fma_small.zip", "ade154f733639d52e35e32f5593efe5be76c6d70", int(7.2 * 2**30)),
    "medium": Archive("fma_medium.zip", "c67b69ea232021025fca9231fc1c7c1a063ab50b", 22 << 30),
    "large": Archive("fma_large.zip", "497109f4dd721066b5ce5e5f250ec604dc78939e", 93 << 30),
    "full": Archive("fma_full.zip", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab", 879 << 30),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `fma download`."""
    parser.description = "Fetches FMA's official archives; resumes what was broken off and checks their SHA-1 sums."
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--subset", choices=[name for name in ARCHIVES if name != "metadata"], help="which audio archive"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the zip files")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-metadata", action="store_true", help="the audio archive alone")
    which.add_argument("--only", choices=["metadata"], help="the metadata archive alone")
    parser.add_argument(
        "--base-url", default=BASE_URL, metavar="URL", help="where the archives are (default: %(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="hash archives that are already there again")


def run(args: argparse.Namespace) -> int:
    """Downloads what `args` asks for and names the command that comes next; raises FmaError or UsageError."""
    archives = chosen(args.subset, args.only, args.no_metadata)
    check_base_url(args.base_url)
    paths = [download(archive, args.out, base_url=args.base_url, check=args.check) for archive in archives]
    for path in paths:
        say(f"{path}: {human_bytes(storage.size(path))}, SHA-1 as published")
    if len(paths) == 2:
        say(f"next: fma ingest --audio {paths[1]} --metadata {paths[0]} --subset {args.subset} --out DATASET")
    return 0


def chosen(subset: str | None, only: str | None = None, no_metadata: bool = False) -> list[Archive]:
    """The archives that a set of options asks for, metadata first."""
    if only:
        return [ARCHIVES[only]]
    if not subset:
        raise UsageError(f"--subset is needed: small, medium, large or full; {EXAMPLE}")
    return ([] if no_metadata else [ARCHIVES["metadata"]]) + [ARCHIVES[subset]]


def check_base_url(url: str) -> None:
    """Raises UsageError unless `url` is a web address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a host or port that cannot be one
        good = False
    if not good:
        raise UsageError(f"--base-url {url}: not a web address; one starts with https:// or http://")


def free_space(folder: str) -> int:
    """Bytes that can still be written below `folder`."""
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
    """Downloads one archive to `out/NAME`, going on from `out/NAME.part` where an earlier run left one.

    Args:
      archive: what to download.
      out: a folder; made where it is absent.
      base_url: the folder on the web that holds the archive.
      check: hash an archive that is already there even though its stamp says that this was done.
      retry: how patient to be with a broken connection.
      free: bytes that can be written below a folder.

    Returns:
      The path, whose bytes have the archive's SHA-1.

    Raises:
      FmaError: the server refuses or cannot be reached, the disk is too small, or the bytes are not the archive's.
    """
    storage.make_folder(out)
    path, url = storage.join(out, archive.name), f"{base_url.rstrip('/')}/{archive.name}"
    if storage.exists(path):
        check_present(archive, path, check)
        return path
    with annotate_os_errors(f"{path}.part"), open_part(f"{path}.part") as part:
        if part.sha1() != archive.sha1:
            fetch(url, part, size=archive.size, free=lambda: free(out), retry=retry)
        check_arrived(archive, url, part)
        part.keep_as(path)
    write_stamp(archive, path)
    return path


def check_arrived(archive: Archive, url: str, part: Part) -> None:
    """Raises FmaError, and removes the part, unless its bytes are the archive's."""
    if part.sha1() != archive.sha1:
        part.remove()
        raise FmaError(
            f"{url} is not the archive that FMA published: SHA-1 expected {archive.sha1}, got {part.sha1()} "
            f"({human_bytes(part.size)}, removed); run again or give another --base-url"
        )


def check_present(archive: Archive, path: str, check: bool) -> None:
    """Raises FmaError unless the finished file at `path` is the archive; hashes it where no stamp vouches for it."""
    if check or not has_stamp(archive, path):
        got = sha1_of(path).hexdigest()
        if got != archive.sha1:
            raise FmaError(
                f"{path} is there but is not the archive that FMA published: SHA-1 expected {archive.sha1}, got {got}; "
                "move it away and run again"
            )
        write_stamp(archive, path)
    log(f"{path}: already complete")


def _stamp(archive: Archive, path: str) -> str:
    """A line as `sha1sum -c` reads it, and a comment that tells whether the file is still the one that was hashed."""
    return f"{archive.sha1}  {archive.name}\n# {storage.mark(path)}\n"


def write_stamp(archive: Archive, path: str) -> None:
    """Notes beside a file that its sum was found right, so that 93 GiB need not be hashed each time."""
    storage.write_bytes(f"{path}.sha1", _stamp(archive, path).encode())


def has_stamp(archive: Archive, path: str) -> bool:
    """Whether the file was hashed before and has not changed since."""
    stamp = f"{path}.sha1"
    return storage.exists(stamp) and storage.read_bytes(stamp) == _stamp(archive, path).encode()
