"""How long `fma ingest` takes to find out that nothing is new: time and peak memory by size of the corpus.

The corpus is FMA-shaped: tracks.csv with as much prose a row as the real one (2.5 KB), audio in one zip, and a dataset
that holds every track; its record files are empty, since such a run does not open them.
"""

import csv
import dataclasses
import hashlib
import json
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.harness import Row, Usage, run_measured
from transforms import storage
from transforms.catalog.locate import fma_path
from transforms.config import DatasetConfig
from transforms.dataset.generation import Generation, ShardFile
from transforms.dataset.manifest import Manifest, commit
from transforms.dataset.plan import ShardPlan, generation_name, make_plan
from transforms.tracks import Track, TrackFacts

GENRES = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
AUDIO = b"not audio: nobody reads it"
PROSE = "This artist's life and works, with <a href='#'>links</a>, \"quotes\" and commas, as people write them. " * 8
COLUMNS = (
    ("album", "title"),
    ("album", "information"),
    ("artist", "name"),
    ("artist", "bio"),
    ("set", "split"),
    ("set", "subset"),
    ("track", "bit_rate"),
    ("track", "duration"),
    ("track", "genre_top"),
    ("track", "genres"),
    ("track", "information"),
    ("track", "license"),
    ("track", "title"),
)


def tracks_of(count: int) -> Iterator[Track]:
    """Tracks with every second id, as FMA's ids have gaps; 1 in 10 in validation and 1 in 10 in test."""
    for i in range(count):
        track_id = 2 + 2 * i
        split = ("validation", "test")[i % 10] if i % 10 < 2 else "training"
        yield Track(
            track_id,
            GENRES[i % 8],
            split,
            f"fma_large/{fma_path(track_id)}",
            artist=f"Artist {i // 7}",
            album=f"Album {i // 5}",
            title=f"Song {i}",
            license="Attribution-Noncommercial-Share Alike 3.0 United States",
            subset="large",
            duration=30.0,
            size=len(AUDIO),
            crc32=zlib.crc32(AUDIO),
        )


def write_corpus(folder: Path, tracks: list[Track], as_folder: bool) -> Path:
    """Writes tracks.csv, genres.csv and the audio; returns what to give for --audio."""
    rows = "".join(f"{number},0,{genre}\n" for number, genre in enumerate(GENRES, 1))
    (folder / "genres.csv").write_text(f"genre_id,parent,title\n{rows}")
    with (folder / "tracks.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *(group for group, _ in COLUMNS)])
        writer.writerow(["", *(name for _, name in COLUMNS)])
        writer.writerow(["track_id", *("" for _ in COLUMNS)])
        for track in tracks:
            cells = {
                "album/title": track.album, "artist/name": track.artist, "set/split": track.split,
                "set/subset": track.subset, "track/duration": 231, "track/genre_top": track.genre,
                "track/license": track.license, "track/title": track.title, "track/bit_rate": 256000,
                "track/genres": [1 + GENRES.index(track.genre)],
                "album/information": PROSE, "artist/bio": PROSE, "track/information": PROSE,
            }  # fmt: skip
            writer.writerow([track.track_id, *(cells[f"{group}/{name}"] for group, name in COLUMNS)])
    if as_folder:
        for track in tracks:
            path = folder / track.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(AUDIO)
        return folder / "fma_large"
    with zipfile.ZipFile(folder / "fma_large.zip", "w") as archive:
        for track in tracks:
            archive.writestr(track.path, AUDIO)
    return folder / "fma_large.zip"


def write_dataset(dataset: str, tracks: list[Track], batch: int = 8000) -> Manifest:
    """A dataset.json and ledgers that hold all tracks, in generations of `batch`; the record files are empty."""
    manifest = Manifest(DatasetConfig(), sorted(GENRES))
    for start in range(0, len(tracks), batch):
        plan = make_plan(tracks[start : start + batch], manifest.config)
        name = generation_name(len(manifest.generations) + 1, plan, [], manifest.vocabulary, manifest.config)
        generation = Generation(name, "large")
        for shard in plan:
            generation.ledgers.append(_write_ledger(dataset, name, shard))
            generation.shards += [_empty_file(dataset, name, kind, shard) for kind in manifest.config.features]
            for track in shard.tracks:
                generation.genres[track.genre] = generation.genres.get(track.genre, 0) + 1
        manifest.generations.append(generation)
    commit(dataset, manifest)
    return manifest


def _write_ledger(dataset: str, generation: str, shard: ShardPlan) -> ShardFile:
    facts = dataclasses.asdict(TrackFacts(30.0, 5, False, hashlib.sha256(b"").hexdigest())) | {"digest": f"{0:064x}"}
    data = "".join(json.dumps(track.to_json() | facts) + "\n" for track in shard.tracks).encode()
    path = storage.join("tracks", generation, f"{shard.name}.jsonl")
    storage.write_bytes(storage.join(dataset, path), data)
    count = len(shard.tracks)
    return ShardFile(
        path, "tracks", shard.split, count, count, len(data), hashlib.sha256(data).hexdigest(), f"{0:064x}"
    )


def _empty_file(dataset: str, generation: str, kind: str, shard: ShardPlan) -> ShardFile:
    path = storage.join(kind, generation, f"{shard.name}.tfrecord")
    storage.write_bytes(storage.join(dataset, path), b"")
    count = len(shard.tracks) * (1 if kind == "stats" else 5)
    return ShardFile(path, kind, shard.split, count, len(shard.tracks), 0, hashlib.sha256().hexdigest(), f"{0:064x}")


def run(folder: Path, audio: Path) -> Usage:
    """What an ingest took that finds nothing new."""
    command = [sys.executable, "-m", "fma", "ingest", "--audio", str(audio), "--metadata", str(folder / "tracks.csv")]
    # Not ru_maxrss: a child's begins with what its parent had when it was forked.
    used = run_measured([*command, "--subset", "large", "--out", str(folder / "data")], folder / "output", every=0.02)
    last = (folder / "output").read_text().splitlines()[-1]
    assert last.startswith("nothing new, 0 new"), last
    return used


def measure(_: Path, *, sizes: tuple[int, ...] = (8000, 25_000, 106_574)) -> list[Row]:
    """Time and peak memory for each number of tracks."""
    rows = []
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="fma-bench-") as name:
            folder = Path(name)
            tracks = list(tracks_of(count))
            audio = write_corpus(folder, tracks, as_folder=False)
            write_dataset(str(folder / "data"), tracks)
            used = run(folder, audio)
        largest, memory = count == max(sizes), used.peak_mb["launcher"]
        rows.append(Row(f"nothing new, {count:,} tracks: time", used.wall_s, "s", target=20 if largest else None))
        rows.append(Row(f"nothing new, {count:,} tracks: memory", memory, "MB", target=1000 if largest else None))
    return rows
