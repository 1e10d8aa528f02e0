"""The corpus as FMA publishes it: zips with the clips of a subset, and one with the tables."""

import hashlib
import os
import zipfile
from collections.abc import Iterable

from transforms.console import naming
from transforms.corpus.options import SUBSETS
from transforms.corpus.plan import Song

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
    with naming(path), zipfile.ZipFile(path, "w") as archive:
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
