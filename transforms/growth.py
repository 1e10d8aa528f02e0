"""How a dataset grows: what is new, which generation it goes to, and who may write."""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from transforms import storage
from transforms.config import DatasetConfig, differences
from transforms.errors import FmaError, UsageError
from transforms.manifest import LEDGERS, Manifest, is_dataset, load, read_ledger
from transforms.tracks import Track


@dataclass(frozen=True, slots=True)
class Growth:
    """What a run has to do.

    Attributes:
      new: tracks that the dataset has neither ingested nor failed.
      kept: wanted tracks that it has already ingested.
      failed: wanted tracks that failed before and are not tried again.
      labels: the dataset's labels with the new genres appended.
    """

    new: list[Track]
    kept: int
    failed: int
    labels: list[str]


def open_or_create(dataset: str, config: DatasetConfig) -> Manifest:
    """The dataset's manifest, or an empty one where there is none yet.

    Raises:
      UsageError: the dataset was made with other settings, or the path holds something else.
    """
    if not is_dataset(dataset):
        if storage.exists(dataset) and not storage.is_dir(dataset):
            raise UsageError(f"--out {dataset} is a file; give a folder")
        return Manifest(config)
    manifest = load(dataset)
    different = differences(manifest.config, config)
    if different:
        raise UsageError(
            f"{dataset} was made with other settings: {'; '.join(different)}. "
            "Give the same settings to add to it, or another --out"
        )
    return manifest


def plan_growth(dataset: str, manifest: Manifest, wanted: Iterable[Track]) -> Growth:
    """Compares the tracks that are wanted with those that the dataset knows."""
    ingested = {line["track_id"] for line in read_ledger(dataset, manifest, "tracks")}
    failed = {line["track_id"] for line in read_ledger(dataset, manifest, "failures")}
    wanted = list(wanted)
    new = [track for track in wanted if track.track_id not in ingested and track.track_id not in failed]
    return Growth(
        new,
        sum(track.track_id in ingested for track in wanted),
        sum(track.track_id in failed for track in wanted),
        append_labels(manifest.labels, new),
    )


def append_labels(labels: list[str], tracks: Iterable[Track]) -> list[str]:
    """The labels with genres that are new behind them, those in order of their names: no id ever shifts."""
    known = set(labels)
    return labels + sorted({track.genre for track in tracks} - known)


def remove_orphans(dataset: str, manifest: Manifest) -> list[str]:
    """Removes generations that the manifest does not list: what a killed run left. Returns their names."""
    known = {generation.name for generation in manifest.generations}
    orphans: set[str] = set()
    for kind in (*manifest.config.features, *LEDGERS, "plan"):
        folder = storage.join(dataset, kind)
        for name in set(storage.list_folders(folder)) - known:
            storage.remove_tree(storage.join(folder, name))
            orphans.add(name)
    return sorted(orphans)


@contextmanager
def locked(dataset: str) -> Iterator[None]:
    """Keeps a second writer of this machine away; the lock goes with its process, however that ends.

    Raises:
      FmaError: another process writes to the dataset.
    """
    storage.make_folder(dataset)
    # The file stays: to unlink it would let two later writers lock two files of the same name.
    with open(storage.join(dataset, ".lock"), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FmaError(f"another ingest is writing to {dataset}; wait for it or give another --out") from error
        yield
