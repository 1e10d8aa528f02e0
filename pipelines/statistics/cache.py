"""TFT's sums over records that were analysed before, so that only new ones are read.

They lie beside the graphs that were made from them, in `transform_fn/<name>/cache/`. `cache.json` says which records
they cover, by the records' digest, which does not depend on shards or generations: the sums of a compacted dataset
still hold, those of one that lost tracks do not.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from transforms import storage
from transforms.dataset.generation import Generation, ShardFile
from transforms.dataset.manifest import CHECKSUM, Manifest, checksum
from transforms.records import add_digests, frame, read_records
from transforms.runtime import console

FILE = "cache.json"

Keys = Mapping[str, Sequence[str]]
"""TFT's names of the sums that it keeps, hexadecimal, by kind. They change with the analysis and with TFT's version."""


@dataclass(frozen=True)
class Part:
    """Training records that were analysed in one run."""

    digest: str  # of the records, hexadecimal
    records: dict[str, int]  # by kind
    entries: dict[str, dict[str, str]]  # by kind and TFT's name: the file with the sums, relative to the dataset

    @property
    def name(self) -> str:
        """A short, unique name."""
        return self.digest[:16]


def make_part(shards: Mapping[str, Sequence[ShardFile]]) -> Part:
    """Return the part that training shards make, given by kind; without entries."""
    files = [file for found in shards.values() for file in found]
    records = {kind: sum(file.records for file in found) for kind, found in shards.items()}
    return Part(f"{add_digests(*(int(file.digest, 16) for file in files)):064x}", records, {})


def load_parts(dataset: str, manifest: Manifest) -> list[Part]:
    """Return the parts of the dataset's last analysis, in its order; [] where it left nothing that can be read."""
    if manifest.transform_fn is None:
        return []
    path = storage.join(dataset, manifest.transform_fn.path, FILE)
    try:
        values = json.loads(storage.read_bytes(path))
        if not isinstance(values, dict):  # version 0.1.0 wrote a list, without checksums
            raise ValueError("it was made by an older version")
        if values.pop(CHECKSUM, None) != checksum(values):
            raise ValueError("its checksum is not that of its content")
        for name, expected in values["files"].items():
            if _hash_file(dataset, name) != expected:
                raise ValueError(f"{name} is not what was written (checksum)")
    except FileNotFoundError:
        return []
    except ValueError as error:
        console.log(f"{path} cannot be used ({error}): all records are analysed")
        return []
    return [Part(**fields) for fields in values["parts"]]


def _hash_file(dataset: str, name: str) -> str:
    return hashlib.sha256(storage.read_bytes(storage.join(dataset, name))).hexdigest()


def reusable(
    parts: Sequence[Part], generations: Sequence[Generation], keys: Keys
) -> tuple[list[Part], list[Generation]]:
    """Return the parts that still hold, and the generations that they do not cover.

    The first parts hold if their records are those of the first generations. That is so after growth, after a
    compaction, and up to the first change after an update.
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
    """Copy an earlier analysis's files to the new one's `folder`, relative to the dataset; return the new parts."""
    carried = []
    for part in parts:
        new = with_entries(part, folder, part.entries)
        for kind, found in part.entries.items():
            for key, path in found.items():
                data = storage.read_bytes(storage.join(dataset, path))
                storage.write_bytes(storage.join(dataset, new.entries[kind][key]), data)
        carried.append(new)
    return carried


def with_entries(part: Part, folder: str, keys: Mapping[str, Iterable[str]]) -> Part:
    """Return a part with the paths of its sums in a folder of statistics, by TFT's names of those that it has."""
    kinds = [kind for kind, count in part.records.items() if count]
    return replace(
        part, entries={kind: {key: entry_path(folder, part, kind, key) for key in keys[kind]} for kind in kinds}
    )


def entry_path(folder: str, part: Part, kind: str, key: str) -> str:
    """Return the path of a part's sums, relative to the dataset."""
    return storage.join(folder, "cache", part.name, f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}")


def save_parts(dataset: str, folder: str, parts: Sequence[Part]) -> None:
    """Write cache.json, with a checksum of each file of the parts and of its own content."""
    names = sorted(path for part in parts for entries in part.entries.values() for path in entries.values())
    values = {"parts": [asdict(part) for part in parts], "files": {name: _hash_file(dataset, name) for name in names}}
    text = json.dumps(values | {CHECKSUM: checksum(values)}, indent=1) + "\n"
    storage.write_bytes(storage.join(dataset, folder, FILE), text.encode())


def write_entry(values: Iterable[bytes], path: str) -> None:
    """Write a file of sums."""
    storage.write_bytes(path, b"".join(map(frame, sorted(values))))


def read_entry(path: str) -> Iterable[bytes]:
    """Read what `write_entry` has written; FmaError where the file is damaged."""
    with storage.open_read(path) as file:
        yield from read_records(file, path)
