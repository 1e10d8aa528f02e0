"""The plan: which tracks a run ingests, and which shard each one belongs to.

A plan is a file of JSON lines, one for each shard, so that a runner moves small lines and neither its job graph nor a
side input grows with the corpus.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.taxonomy import Vocabulary
from transforms.tracks import LABELLED, SPLITS, Track

SHARD_MEL_BYTES = 64 << 20
"""Upper bound for a shard's mel images (or what they would take), so that a shard is minutes of work."""

MIN_SHARDS = 8  # shards of a split that has enough tracks: what a laptop's workers and tf.data's parallel reads can use
TRACKS_FOR_MIN_SHARDS = 4  # a shard has at least about this many tracks before MIN_SHARDS is reached
TYPICAL_SECONDS = 30.0  # assumed for a track whose metadata declares no length
GENERATION_NAME = re.compile(r"\d{4,}-[0-9a-f]{8}")
"""The form of `generation_name`."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One unit of work: the tracks of one shard, sorted by id."""

    split: str  # of all its tracks
    index: int  # of the shard within its split, from 0
    of: int  # shards in the split
    tracks: tuple[Track, ...]  # at least one
    labelled: str = "top"  # what is known of the genres of all its tracks, one of `transforms.tracks.LABELLED`

    @property
    def name(self) -> str:
        """`training-00000-of-00025`, the shard's file name without its ending; `genres-training-...` without a label.

        Shards of their own for tracks without a genre_top: training on one label each does not read the others.
        """
        lead = "" if self.labelled == "top" else f"{self.labelled}-"
        return f"{lead}{self.split}-{self.index:05d}-of-{self.of:05d}"

    def to_line(self) -> str:
        """Return the plan's line for this shard."""
        tracks = [track.to_json() for track in self.tracks]
        place = {"split": self.split, "index": self.index, "of": self.of, "labelled": self.labelled}
        return json.dumps(place | {"tracks": tracks})

    @classmethod
    def from_line(cls, line: str) -> "ShardPlan":
        """Parse what `to_line` returned."""
        fields = json.loads(line)
        tracks = tuple(Track.from_json(track) for track in fields.pop("tracks"))
        return cls(**fields, tracks=tracks)


def shard_of(track_id: int, shards: int) -> int:
    """Return the shard of a track by a hash that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(str(track_id).encode()).digest()[:8], "big") % shards


def choose_shards(tracks: list[Track], config: DatasetConfig) -> int:
    """Return the number of shards of a split; it depends on the tracks and the config alone, not on the machine."""
    windows = sum(
        max(1, config.count_windows(int((track.duration or TYPICAL_SECONDS) * config.sample_rate))) for track in tracks
    )
    by_size = math.ceil(windows * KINDS["mel"].payload_bytes(config) / SHARD_MEL_BYTES)
    return max(1, by_size, min(MIN_SHARDS, len(tracks) // TRACKS_FOR_MIN_SHARDS))


def make_plan(tracks: Iterable[Track], config: DatasetConfig, shards: int | None = None) -> list[ShardPlan]:
    """Group tracks into shards by split, by what is known of their genres, and by stable hash.

    Return the shards that have tracks, in order. `shards` is their number in each split, instead of one chosen from the
    amount of data.
    """
    groups: dict[tuple[str, str], list[Track]] = {}
    for track in sorted(tracks, key=lambda track: track.track_id):
        groups.setdefault((track.split, track.labelled), []).append(track)
    plan = []
    for split, labelled in product(SPLITS, LABELLED):
        members = groups.get((split, labelled), [])
        of = shards or choose_shards(members, config)
        buckets: dict[int, list[Track]] = {}
        for track in members:
            buckets.setdefault(shard_of(track.track_id, of), []).append(track)
        plan += [ShardPlan(split, index, of, tuple(buckets[index]), labelled) for index in sorted(buckets)]
    return plan


def generation_name(
    number: int, plan: Iterable[ShardPlan], dropped: Sequence[int], vocabulary: Vocabulary, config: DatasetConfig
) -> str:
    """Return a name such as `0002-3fa9c1d2`, the same for the same records on any machine.

    Args:
      number: of the generation, from 1.
      dropped: ids of tracks that it removes from earlier generations.
      vocabulary: of the dataset; the order of its names decides the records' ids.
    """
    hashed = hashlib.sha256(json.dumps([config.digest, list(dropped), vocabulary.labels, vocabulary.genres]).encode())
    for shard in plan:
        tracks = [(track.track_id, track.genre, track.genres) for track in shard.tracks]
        hashed.update(json.dumps([shard.name, tracks]).encode())
    return f"{number:04d}-{hashed.hexdigest()[:8]}"
