"""The leak audit: artists, albums and recordings in more than one split, which make a model look better than it is.

Artists, albums and equal audio are found in the ledger; near duplicates (the same recording under another encoding,
cut or level) by acoustic fingerprints of the stored mel spectrograms."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from transforms.dataset.generation import ShardFile
from transforms.dataset.ledger import IngestedTrack, read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import map_files, read_shard
from transforms.records import Record, decode_payload
from transforms.runtime import console
from transforms.tracks import SPLITS, artist_key

BANDS = 17  # one more than bits in a word
SPAN = 8  # frames; .19 s at 22,050 Hz
GROWTH = 8  # frames over which a difference grows
EMPTY = (0x0000, 0xFFFF)
"""Words of silence and of sounds that do not change: equal to each other, whatever the recording."""

STEP = 4  # frames between indexed words; looked up is every frame, so that cuts may lie anywhere
APART = 16  # frames between the two words of a key
KEYS_IN_COMMON = 2
SAME = 0.3
"""Share of bits below which two fingerprints are of one recording: other pairs of a corpus stay above .4, and copies
that are re-encoded at low bit rates, cut and made softer below .25."""

OWNER_BITS = np.uint64(32)
LAST_OWNER = np.uint64((1 << 32) - 1)
LEAST_WORDS = 40  # words, STEP frames apart, that have to overlap: 3.7 s at 22,050 Hz


def has_bands(n_mels: int) -> bool:
    """Whether so many mel bands are enough for a fingerprint: 26 or more."""
    return n_mels * 2 // 3 >= BANDS


def fingerprint(mel: np.ndarray) -> np.ndarray:
    """Return words uint16 [frames - SPAN - GROWTH + 1] for a stretch of a track; none for a shorter one.

    `mel` is quantised log-mel, uint8 [n_mels, frames], with enough bands (`has_bands`).
    """
    if not has_bands(len(mel)):
        raise ValueError(f"{len(mel)} mel bands are too few for a fingerprint")
    rows = len(mel) * 2 // 3 // BANDS * BANDS
    energy = mel[:rows].reshape(BANDS, -1, mel.shape[1]).mean(axis=1)
    sums = np.cumsum(np.pad(energy, ((0, 0), (1, 0))), axis=1)
    difference = np.diff(sums[:, SPAN:] - sums[:, :-SPAN], axis=0)
    # Sums of floats may differ in their last bit where the energies are equal: that is not growth.
    bits = difference[:, GROWTH:] - difference[:, :-GROWTH] > 1e-6
    return np.tensordot(1 << np.arange(BANDS - 1), bits, 1).astype(np.uint16)


def bit_error_rate(one: np.ndarray, other: np.ndarray, least: int) -> float:
    """Return the share of bits that differ at the shift where two fingerprints fit best; .5 is chance.

    Args:
      one, other: uint16 words, equally spaced.
      least: words that have to overlap and not be empty in both, else a shift does not count.

    Returns:
      in [0, 1]; 1 where they never overlap enough.
    """
    best = 1.0
    for shift in range(least - len(one), len(other) - least + 1):
        first, second = one[max(0, -shift) :], other[max(0, shift) :]
        length = min(len(first), len(second))
        first, second = first[:length], second[:length]
        heard = ~(np.isin(first, EMPTY) & np.isin(second, EMPTY))
        words = int(heard.sum())
        if words >= least:
            best = min(best, int(np.bitwise_count(first ^ second)[heard].sum()) / (16 * words))
    return best


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing in more than one split."""

    # `artist`, `album`, `audio` (decoded samples that are exactly equal) or `recording` (the mel spectrograms sound
    # alike, see `transforms.dataset.leaks`)
    what: str
    name: str  # the artist, the album, or a short form of what was compared
    where: dict[str, list[int | str]]  # shown ids of the tracks, by split

    def __str__(self) -> str:
        places = ", ".join(f"{split} ({_some(ids)})" for split, ids in self.where.items())
        return f"the same {self.what} {self.name!r} in {places}"


def find_leaks(tracks: Iterable[IngestedTrack]) -> list[Leak]:
    """Find artists, albums and exactly equal decoded audio in more than one split.

    Artists are compared by name, ignoring case and spacing; albums by id where the metadata has one, else by title.
    """
    found: dict[str, dict[str, tuple[str, dict[str, list[int | str]]]]] = {"artist": {}, "album": {}, "audio": {}}
    for track in tracks:
        keys = {"artist": artist_key(track.artist), "album": track.album_id or track.album}
        names = {"artist": " ".join(track.artist.split()), "album": track.album}
        # Silence equals all other silence of its length.
        keys["audio"] = "" if track.silent else track.audio_sha256
        names["audio"] = track.audio_sha256[:12]
        for what, key in keys.items():
            if key:
                _, places = found[what].setdefault(key, (names[what], {}))
                places.setdefault(track.split, []).append(track.shown_id)
    return [
        Leak(what, name, {split: where[split] for split in SPLITS if split in where})
        for what, things in found.items()
        for name, where in sorted(things.values(), key=lambda found: found[0])
        if len(where) > 1
    ]


def _some(ids: list[int | str]) -> str:
    return ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def find_near_duplicates(dataset: str, manifest: Manifest) -> list[Leak]:
    """Find recordings in more than one split, but for equal audio (`find_leaks`); FmaError where a shard is damaged."""
    tracks = {track.track_id: track for track in read_tracks(dataset, manifest) if not track.silent}
    words = _read_fingerprints(dataset, manifest, set(tracks))
    asked = [track_id for track_id in words if tracks[track_id].split != SPLITS[0]]
    found: dict[int, set[int]] = {}
    for one, other in _candidates(words, asked):
        first, second = tracks[one], tracks[other]
        different = first.split != second.split and first.audio_sha256 != second.audio_sha256
        if different and _distance(words[one], words[other]) <= SAME:
            group = found.get(one, {one}) | found.get(other, {other})
            found.update(dict.fromkeys(group, group))
    groups = {min(group): sorted(group) for group in found.values()}
    return [_leak(tracks, groups[least]) for least in sorted(groups)]


def _leak(tracks: dict[int, IngestedTrack], group: list[int]) -> Leak:
    first = tracks[group[0]]
    name = ": ".join(text for text in (first.artist, first.title) if text) or f"track {first.shown_id}"
    where = {split: [tracks[i].shown_id for i in group if tracks[i].split == split] for split in SPLITS}
    return Leak("recording", name, {split: ids for split, ids in where.items() if ids})


def _read_fingerprints(dataset: str, manifest: Manifest, wanted: set[int]) -> dict[int, np.ndarray]:
    """Return the words uint16 [n] of each wanted track, in order of the ids."""
    shards = manifest.shards("mel")
    read = partial(_read_shard_fingerprints, dataset, manifest)
    words: dict[int, np.ndarray] = {}
    with console.progress("fingerprints", sum(shard.bytes for shard in shards), "bytes") as progress:
        for shard, found in zip(shards, map_files(read, shards), strict=True):
            words |= found
            progress.advance(shard.bytes)
    return {track_id: words[track_id] for track_id in sorted(wanted & set(words))}


def _read_shard_fingerprints(dataset: str, manifest: Manifest, shard: ShardFile) -> dict[int, np.ndarray]:
    records = (record for record, _ in read_shard(dataset, shard, manifest.schema))
    tracks = groupby(records, key=lambda record: record.track_id)
    return {track_id: fingerprint(_join_windows(windows, manifest)) for track_id, windows in tracks}


def _join_windows(windows: Iterator[Record], manifest: Manifest) -> np.ndarray:
    """Return the windows of a track side by side, uint8 [n_mels, frames], without their overlap."""
    config = manifest.config
    mels = [decode_payload("mel", record.payload, config) for record in windows]
    return np.concatenate([*(mel[:, : config.window_hop_frames] for mel in mels[:-1]), mels[-1]], axis=1)


def _keys(words: np.ndarray) -> np.ndarray:
    """Return uint32 [n - APART]: each word with the one after the next frames; empty words make no key."""
    first, second = words[:-APART], words[APART:]
    heard = ~(np.isin(first, EMPTY) | np.isin(second, EMPTY))
    return (first[heard].astype(np.uint32) << 16) | second[heard]


def _candidates(words: dict[int, np.ndarray], asked: list[int]) -> Iterator[tuple[int, int]]:
    """Return pairs (asked, other) of tracks with enough keys in common."""
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


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return min(bit_error_rate(one[phase::STEP], other[::STEP], LEAST_WORDS) for phase in range(STEP))


def audit(dataset: str, manifest: Manifest) -> list[Leak]:
    """Find artists, albums, equal audio and, where there are mel records, near-duplicate recordings.

    Raises:
      FmaError: a file of the dataset is damaged.
    """
    leaks = find_leaks(read_tracks(dataset, manifest))
    return leaks if undetectable_leaks(manifest) else leaks + find_near_duplicates(dataset, manifest)


def undetectable_leaks(manifest: Manifest) -> tuple[str, ...]:
    """Return the kinds of leaks that cannot be found here: near duplicates take mel records with enough bands."""
    config = manifest.config
    return () if "mel" in config.features and has_bands(config.n_mels) else ("recording",)
