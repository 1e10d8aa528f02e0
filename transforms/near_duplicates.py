"""Recordings that stand in more than one split under different encodings, cuts or levels, found by their fingerprints.

Every track of validation and test is looked up in an index of all tracks: two words of a fingerprint, `APART` frames
from each other, are a key of 32 bits, which hardly ever recurs by chance. Pairs with several keys in common are then
compared bit by bit. The index of 106,574 tracks of 30 s takes 0.8 GB, looking 21,000 of them up a minute of CPU.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import groupby

import numpy as np

from transforms import console, storage
from transforms.fingerprint import EMPTY, bit_error_rate, fingerprint
from transforms.leaks import Leak
from transforms.manifest import Manifest, ShardFile, read_ledger
from transforms.records import read_records
from transforms.schema import Record, decode_payload, deserialize
from transforms.shard_files import map_files
from transforms.tracks import SPLITS

STEP = 4  # frames between indexed words; looked up is every frame, so that cuts may lie anywhere
APART = 16  # frames between the two words of a key
KEYS_IN_COMMON = 2
SAME = 0.3
"""Share of bits below which two fingerprints are of one recording: other pairs of a corpus stay above .4, and copies
that are re-encoded at low bit rates, cut and made softer below .25."""

OWNER_BITS = np.uint64(32)
LAST_OWNER = np.uint64((1 << 32) - 1)

LEAST_WORDS = 40  # words, STEP frames apart, that have to overlap: 3.7 s at 22,050 Hz


def find_near_duplicates(dataset: str, manifest: Manifest) -> list[Leak]:
    """Recordings in more than one split; exactly equal audio is left to `find_leaks`.

    Args:
      dataset: path.
      manifest: its manifest; without mel records nothing can be found.

    Raises:
      FmaError: a shard is damaged.
    """
    ledger = {line["track_id"]: line for line in read_ledger(dataset, manifest, "tracks") if not line["silent"]}
    words = _read_fingerprints(dataset, manifest, set(ledger))
    asked = [track_id for track_id in words if ledger[track_id]["split"] != SPLITS[0]]
    found: dict[int, set[int]] = {}
    for one, other in _candidates(words, asked):
        different = all(ledger[one][key] != ledger[other][key] for key in ("split", "audio_sha256"))
        if different and _apart(words[one], words[other]) <= SAME:
            group = found.get(one, {one}) | found.get(other, {other})
            found.update(dict.fromkeys(group, group))
    groups = {min(group): sorted(group) for group in found.values()}
    return [_leak(ledger, groups[first]) for first in sorted(groups)]


def _leak(ledger: dict[int, dict], group: list[int]) -> Leak:
    first = ledger[group[0]]
    name = ": ".join(text for text in (first.get("artist"), first.get("title")) if text) or f"track {group[0]}"
    where = {split: [i for i in group if ledger[i]["split"] == split] for split in SPLITS}
    return Leak("recording", name, {split: ids for split, ids in where.items() if ids})


def _read_fingerprints(dataset: str, manifest: Manifest, wanted: set[int]) -> dict[int, np.ndarray]:
    """Words uint16 [n] of each wanted track, by track id in order."""
    shards = manifest.shards("mel")
    read = partial(_of_shard, dataset, manifest)
    words: dict[int, np.ndarray] = {}
    with console.progress("fingerprints", sum(shard.bytes for shard in shards), "bytes") as progress:
        for shard, found in zip(shards, map_files(read, shards), strict=True):
            words |= found
            progress.advance(shard.bytes)
    return {track_id: words[track_id] for track_id in sorted(wanted & set(words))}


def _of_shard(dataset: str, manifest: Manifest, shard: ShardFile) -> dict[int, np.ndarray]:
    with storage.open_read(storage.join(dataset, shard.path)) as file:
        records = map(deserialize, read_records(file, shard.path))
        tracks = groupby(records, key=lambda record: record.track_id)
        return {track_id: fingerprint(_whole(windows, manifest)) for track_id, windows in tracks}


def _whole(windows: Iterator[Record], manifest: Manifest) -> np.ndarray:
    """The windows of a track side by side, uint8 [n_mels, frames], without what they overlap."""
    config = manifest.config
    mels = [decode_payload("mel", record.payload, config) for record in windows]
    return np.concatenate([*(mel[:, : config.window_hop_frames] for mel in mels[:-1]), mels[-1]], axis=1)


def _keys(words: np.ndarray) -> np.ndarray:
    """uint32 [n - APART]: each word with the one after the next frames; empty words make no key."""
    first, second = words[:-APART], words[APART:]
    told = ~(np.isin(first, EMPTY) | np.isin(second, EMPTY))
    return (first[told].astype(np.uint32) << 16) | second[told]


def _candidates(words: dict[int, np.ndarray], asked: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs (asked, other) with enough keys in common."""
    ids = list(words)
    # Key and owner in one number: to sort these takes half of the memory of sorting two arrays.
    entries = [
        (_keys(words[one])[::STEP].astype(np.uint64) << OWNER_BITS) | np.uint64(at) for at, one in enumerate(ids)
    ]
    index = np.concatenate([np.empty(0, np.uint64), *entries])
    del entries
    index.sort()
    for track_id in asked:
        wanted = np.unique(_keys(words[track_id])).astype(np.uint64) << OWNER_BITS
        starts, ends = np.searchsorted(index, wanted), np.searchsorted(index, wanted | LAST_OWNER, "right")
        common: Counter[int] = Counter()
        for start, end in zip(starts[ends > starts], ends[ends > starts], strict=True):
            common.update({ids[at] for at in (index[start:end] & LAST_OWNER).tolist()})
        yield from ((track_id, other) for other, n in common.items() if other != track_id and n >= KEYS_IN_COMMON)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return min(bit_error_rate(one[phase::STEP], other[::STEP], LEAST_WORDS) for phase in range(STEP))
