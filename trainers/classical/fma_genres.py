"""Genre, split and artist of each track, to join with FMA's tables of features."""

import csv
import io
from dataclasses import dataclass

from trainers.classical.fma_files import open_table, split_address
from transforms import storage
from transforms.catalog.metadata import read_catalog
from transforms.errors import UsageError

BESIDE = ("tracks.csv", "fma_tracks_genres.csv", "fma_tracks_genres.csv.xz")
"""Where the metadata is not named: the first of these that lies in the folder of the features."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a track; split and artist may be ""."""

    genre: str
    split: str
    artist: str


def read_facts(features: str, metadata: str | None, subset: str | None) -> dict[int, Facts]:
    """The tracks that have a genre, by id.

    Args:
      features: address of the features, to look beside.
      metadata: fma_metadata.zip, the folder unpacked from it, its tracks.csv, or a csv (also .xz, .gz, .bz2) with the
        columns track_id and genre_top, which has no split; None: look beside the features.
      subset: of FMA's tracks.csv; the other form has none.

    Raises:
      UsageError: there is no metadata, or it has another form.
    """
    metadata = metadata or _beside(features)
    flat = None if metadata.endswith(".zip") or storage.is_dir(metadata) else _read_flat(metadata)
    if flat is None:
        catalog = read_catalog(metadata, subset)
        return {track.track_id: Facts(track.genre, track.split, track.artist) for track in catalog.tracks}
    if subset:
        raise UsageError(f"--subset {subset}: {metadata} does not say which track is in which of FMA's subsets")
    return flat


def _beside(features: str) -> str:
    path, _ = split_address(features)
    if path.endswith(".zip"):
        return path
    places = [storage.join(storage.parent(path), name) for name in BESIDE]
    found = next((place for place in places if storage.exists(place)), None)
    if found is None:
        raise UsageError(f"{path}: no {BESIDE[0]} lies beside it, which has the genres; name one with --metadata")
    return found


def _read_flat(metadata: str) -> dict[int, Facts] | None:
    """None where the file has not that form; tracks without a genre are left out."""
    with open_table(metadata, "tracks.csv") as (file, name):
        rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        try:
            if not {"track_id", "genre_top"} <= set(rows.fieldnames or ()):
                return None
            return {int(row["track_id"]): Facts(row["genre_top"], "", "") for row in rows if row["genre_top"]}
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{name}: {error}") from error
