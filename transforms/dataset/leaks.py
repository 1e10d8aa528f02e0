"""The leak audit: artists, albums and recordings in more than one split, which make a model look better than it is.

Artists, albums and equal audio are found in the ledger; near duplicates (the same recording under another encoding,
cut or level) by acoustic fingerprints of the stored mel spectrograms."""

import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.generation import ShardFile, ShardResult
from transforms.dataset.ledger import IngestedTrack, read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.near_duplicates import SAME, Fingerprints, distance, find_candidates, fingerprint, has_bands
from transforms.dataset.shard_io import read_shard
from transforms.dataset.shard_map import ALL_CORES, ShardMap, ShardTask
from transforms.records import Record, Schema, decode_payload
from transforms.runtime import temporary
from transforms.tracks import SPLITS, artist_key


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing in more than one split."""

    # `artist`, `album`, `audio` (decoded samples that are exactly equal) or `recording` (the mel spectrograms sound
    # alike, see `transforms.dataset.near_duplicates`)
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


def find_near_duplicates(dataset: str, manifest: Manifest, shards: ShardMap = ALL_CORES) -> list[Leak]:
    """Find recordings in more than one split, but for equal audio (`find_leaks`); FmaError where a shard is damaged."""
    tracks = {track.track_id: track for track in read_tracks(dataset, manifest) if not track.silent}
    found: dict[int, set[int]] = {}
    with temporary.new_folder() as folder:
        prints = _write_fingerprints(dataset, manifest, tracks, folder, shards)
        of_print = [tracks[track_id] for track_id in prints.track_id.tolist()]
        asked = np.flatnonzero([track.split != SPLITS[0] for track in of_print])
        for one, other in find_candidates(prints, asked, folder):
            first, second = of_print[one], of_print[other]
            different = first.split != second.split and first.audio_sha256 != second.audio_sha256
            if different and distance(prints.words(one), prints.words(other)) <= SAME:
                ids = first.track_id, second.track_id
                group = set(ids).union(*(found.get(track_id, ()) for track_id in ids))
                found.update(dict.fromkeys(group, group))
    groups = {min(group): sorted(group) for group in found.values()}
    return [_leak(tracks, groups[least]) for least in sorted(groups)]


def _leak(tracks: dict[int, IngestedTrack], group: list[int]) -> Leak:
    first = tracks[group[0]]
    name = ": ".join(text for text in (first.artist, first.title) if text) or f"track {first.shown_id}"
    where = {split: [tracks[i].shown_id for i in group if tracks[i].split == split] for split in SPLITS}
    return Leak("recording", name, {split: ids for split, ids in where.items() if ids})


def _write_fingerprints(
    dataset: str, manifest: Manifest, wanted: Collection[int], folder: str, shards: ShardMap
) -> Fingerprints:
    """Write the fingerprints of the wanted tracks to a file in the folder."""
    tasks = [ShardTask.of_file(shard) for shard in manifest.shards("mel")]
    path, ids, lengths = os.path.join(folder, "words"), [], [0]
    with shards.folder() as theirs, open(path, "wb") as file:
        read = partial(fingerprint_shard, dataset, manifest.schema, theirs)
        for result in shards.run("fingerprints", read, tasks):
            words = np.frombuffer(storage.read_bytes(_words_path(theirs, result.name)), "<u2")
            storage.remove(_words_path(theirs, result.name))
            found = json.loads(result.found)
            parts = np.split(words, np.cumsum([count for _, count in found])[:-1])
            for (track_id, count), part in zip(found, parts, strict=True):
                if track_id in wanted:
                    file.write(part.data)
                    ids.append(track_id)
                    lengths.append(count)
    return Fingerprints(path, np.array(ids, np.int64), np.cumsum(lengths))


def fingerprint_shard(dataset: str, schema: Schema, folder: str, line: str) -> ShardResult:
    """Write the words of a shard's tracks to the folder; what is found is JSON, [[track_id, number of words], ...]."""
    shard = ShardFile.from_line(line)
    records = (record for record, _ in read_shard(dataset, shard, schema))
    prints = [
        (track_id, fingerprint(_join_windows(windows, schema.config)))
        for track_id, windows in groupby(records, key=lambda record: record.track_id)
    ]
    storage.write_bytes(_words_path(folder, shard.path), b"".join(words.tobytes() for _, words in prints))
    return ShardResult(shard.path, found=json.dumps([(track_id, len(words)) for track_id, words in prints]))


def _words_path(folder: str, shard: str) -> str:
    return storage.join(folder, f"{shard.replace('/', '-')}.words")


def _join_windows(windows: Iterator[Record], config: DatasetConfig) -> np.ndarray:
    """Return the windows of a track side by side, uint8 [n_mels, frames], without their overlap."""
    mels = [decode_payload("mel", record.payload, config) for record in windows]
    return np.concatenate([*(mel[:, : config.window_hop_frames] for mel in mels[:-1]), mels[-1]], axis=1)


def audit(dataset: str, manifest: Manifest, shards: ShardMap = ALL_CORES) -> list[Leak]:
    """Find artists, albums, equal audio and, where there are mel records, near-duplicate recordings.

    Raises:
      FmaError: a file of the dataset is damaged.
    """
    leaks = find_leaks(read_tracks(dataset, manifest))
    return leaks if undetectable_leaks(manifest) else leaks + find_near_duplicates(dataset, manifest, shards)


def undetectable_leaks(manifest: Manifest) -> tuple[str, ...]:
    """Return the kinds of leaks that cannot be found here: near duplicates take mel records with enough bands."""
    config = manifest.config
    return () if "mel" in config.features and has_bands(config.n_mels) else ("recording",)
