"""TFT's sums over records that were analysed before, so that only new ones are read.

They lie with the graphs that were made of them, in `transform_fn/<name>/cache/`, and `cache.json` there tells which
records they cover, by the digest of the records: a sum that does not depend on shards or generations. So a compacted
dataset still fits, and one that tracks were taken out of does not.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from transforms import storage
from transforms.dataset.manifest import Generation, Manifest, ShardFile
from transforms.errors import FmaError
from transforms.records import add_digests, frame, read_records
from transforms.runtime import console

FILE = "cache.json"

Keys = Mapping[str, Sequence[str]]
"""By kind: TFT's names of what it keeps, hexadecimal. They change where the analysis does, and with TFT's version."""


@dataclass(frozen=True)
class Part:
    """Training records that were analysed in one run.

    Attributes:
      digest: of the records, hexadecimal.
      records: by kind.
      entries: by kind and TFT's name: the file with the sums, relative to the dataset.
    """

    digest: str
    records: dict[str, int]
    entries: dict[str, dict[str, str]]

    @property
    def name(self) -> str:
        """Short, and no other part's."""
        return self.digest[:16]


def make_part(shards: Mapping[str, Sequence[ShardFile]]) -> Part:
    """The part that some training shards make, without entries.

    Args:
      shards: by kind.
    """
    files = [file for found in shards.values() for file in found]
    records = {kind: sum(file.records for file in found) for kind, found in shards.items()}
    return Part(f"{add_digests(*(int(file.digest, 16) for file in files)):064x}", records, {})


def load_parts(dataset: str, manifest: Manifest) -> list[Part]:
    """What the dataset's last analysis left, in its order; [] where it left nothing that can be read."""
    if manifest.transform_fn is None:
        return []
    path = storage.join(dataset, manifest.transform_fn.path, FILE)
    try:
        parts = [Part(**fields) for fields in json.loads(storage.read_bytes(path))]
        for part in parts:
            for entries in part.entries.values():
                for entry in entries.values():
                    list(read_entry(storage.join(dataset, entry)))
    except FileNotFoundError:
        return []
    except (FmaError, ValueError, TypeError) as error:
        console.log(f"{path} cannot be used ({error}): all records are analysed")
        return []
    return parts


def reusable(
    parts: Sequence[Part], generations: Sequence[Generation], keys: Keys
) -> tuple[list[Part], list[Generation]]:
    """Which parts still hold, and which generations they do not cover.

    The first parts hold if their records are those of the first generations: so it is after growth, after a compaction,
    and up to the first change after an update.
    """
    sums = [0]
    for generation in generations:
        shards = [shard for shard in generation.shards if shard.split == "training" and shard.kind in keys]
        sums.append(add_digests(sums[-1], *(int(shard.digest, 16) for shard in shards)))
    held, covered, total = 0, 0, 0
    for number, part in enumerate(parts, 1):
        if any(count and not set(keys[kind]) <= set(part.entries[kind]) for kind, count in part.records.items()):
            break  # kept by another version of TFT
        total = add_digests(total, int(part.digest, 16))
        if total in sums[covered:]:
            held, covered = number, len(sums) - 1 - sums[::-1].index(total)
    return list(parts[:held]), list(generations[covered:])


def carry_over(dataset: str, parts: Iterable[Part], folder: str) -> list[Part]:
    """Copies the parts' files to where the new analysis keeps its own.

    Args:
      dataset: its path.
      parts: of an earlier analysis.
      folder: of the new one, relative to the dataset.
    """
    carried = []
    for part in parts:
        entries = {
            kind: {key: entry_path(folder, part, kind, key) for key in found} for kind, found in part.entries.items()
        }
        for kind, found in part.entries.items():
            for key, path in found.items():
                data = storage.read_bytes(storage.join(dataset, path))
                storage.write_bytes(storage.join(dataset, entries[kind][key]), data)
        carried.append(replace(part, entries=entries))
    return carried


def entry_path(folder: str, part: Part, kind: str, key: str) -> str:
    """Where a part's sums lie, relative to the dataset."""
    return storage.join(folder, "cache", part.name, f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}")


def save_parts(dataset: str, folder: str, parts: Sequence[Part]) -> None:
    """Writes cache.json."""
    data = json.dumps([asdict(part) for part in parts], indent=1) + "\n"
    storage.write_bytes(storage.join(dataset, folder, FILE), data.encode())


def write_entry(values: Iterable[bytes], path: str) -> None:
    """One file of sums, with checksums."""
    storage.write_bytes(path, b"".join(map(frame, sorted(values))))


def read_entry(path: str) -> Iterable[bytes]:
    """The inverse of `write_entry`.

    Raises:
      FmaError: the file is damaged.
    """
    with storage.open_read(path) as file:
        yield from read_records(file, path)
