"""How a dataset grows: what is new, which generation it goes to, and who may write."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig, differences
from transforms.dataset.ledger import read_failures, read_tracks
from transforms.dataset.manifest import LEDGERS, Manifest, is_dataset, load
from transforms.dataset.plan import GENERATION_NAME
from transforms.errors import UsageError
from transforms.tracks import Track

WRITTEN = (*LEDGERS, "plan")
"""Folders of a dataset that hold a folder for each generation, beside those of the feature kinds."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a run has to do.

    Attributes:
      new: tracks to ingest, by id.
      kept: wanted tracks that the dataset has and that stay.
      failed: wanted tracks that failed before and are not tried again.
      changed: ids of tracks whose file, genre or split is not what it was; among `new` if they are to be updated.
      vanished: ids of tracks in the dataset that the metadata does not name any more.
      drop: ids of ingested tracks to take out of the dataset.
      drop_failures: ids of failed tracks to take out.
      labels: the dataset's labels with the new genres appended.
    """

    new: list[Track]
    kept: int
    failed: int
    changed: list[int]
    vanished: list[int]
    drop: set[int]
    drop_failures: set[int]
    labels: list[str]

    @property
    def has_work(self) -> bool:
        """Whether the dataset would change."""
        return bool(self.new or self.drop or self.drop_failures)


def open_or_create(dataset: str, config: DatasetConfig) -> Manifest:
    """The dataset's manifest, or an empty one where there is none yet.

    Raises:
      UsageError: the dataset was made with other settings, or the path holds something else.
    """
    if not is_dataset(dataset):
        _refuse_foreign(dataset)
        return Manifest(config)
    manifest = load(dataset)
    different = differences(manifest.config, config)
    if different:
        raise UsageError(
            f"{dataset} was made with other settings: {'; '.join(different)}. "
            "Give the same settings to add to it, or another --out"
        )
    return manifest


def _refuse_foreign(dataset: str) -> None:
    """Takes an empty folder, or what a run that never came to commit has left in one, and nothing else."""
    if not storage.exists(dataset):
        return
    if not storage.is_dir(dataset):
        raise UsageError(f"--out {dataset} is a file; give a folder")
    prefix = storage.join(dataset, "")
    for path, _ in storage.list_files(dataset):
        name = path.removeprefix(prefix)
        if not _is_ours(name):
            raise UsageError(
                f"--out {dataset} is not empty and holds no dataset (it holds {name}); give another folder"
            )


def _is_ours(name: str) -> bool:
    """Whether a file below a dataset's folder has a name that ingestion gives; hidden ones count as nobody's."""
    kind, *below = name.split("/")
    if kind.startswith("."):
        return True
    return kind in (*KINDS, *WRITTEN) and len(below) > 1 and bool(GENERATION_NAME.fullmatch(below[0]))


def plan_growth(
    dataset: str,
    manifest: Manifest,
    wanted: list[Track],
    known: frozenset[int],
    *,
    update: bool = False,
    retry: str | None = None,
) -> Growth:
    """Compares the tracks that are wanted with those that the dataset knows.

    Args:
      dataset: path of the dataset.
      manifest: of the dataset.
      wanted: tracks of the metadata that belong to the run.
      known: ids of all rows of the metadata.
      update: whether changed tracks are to be read again, and vanished ones taken out.
      retry: the reason whose failed tracks are to be tried again, "" for any reason, None for none.
    """
    ingested = {track.track_id: _state(track) for track in read_tracks(dataset, manifest)}
    failed = {track.track_id: track.reason for track in read_failures(dataset, manifest)}
    changed = [track.track_id for track in wanted if _has_changed(track, ingested.get(track.track_id))]
    retried = {track_id for track_id, reason in failed.items() if retry in ("", reason)}
    vanished = sorted({*ingested, *failed} - known)
    again = set(changed) if update else set()
    new = [
        track
        for track in wanted
        if track.track_id in again
        or (track.track_id not in ingested and (track.track_id not in failed or track.track_id in retried))
    ]
    gone = set(vanished) if update else set()
    return Growth(
        new=new,
        kept=sum(track.track_id in ingested and track.track_id not in again for track in wanted),
        failed=sum(track.track_id in failed and track.track_id not in retried for track in wanted),
        changed=changed,
        vanished=vanished,
        drop=again | (gone & set(ingested)),
        drop_failures={track.track_id for track in new if track.track_id in failed} | (gone & set(failed)),
        labels=append_labels(manifest.labels, new),
    )


State = tuple[str, str, int | None, int | None]
"""What makes a track another one when it changes: genre, split, bytes and crc32 of its file."""


def _state(track: Track) -> State:
    return track.genre, track.split, track.size, track.crc32


def _has_changed(track: Track, before: State | None) -> bool:
    """Whether a track differs from its ledger line in anything that both know."""
    return before is not None and any(
        old != new for old, new in zip(before, _state(track), strict=True) if old is not None and new is not None
    )


def append_labels(labels: list[str], tracks: Iterable[Track]) -> list[str]:
    """The labels with genres that are new behind them, those in order of their names: no id ever shifts."""
    known = set(labels)
    return labels + sorted({track.genre for track in tracks} - known)


ELSEWHERE = "elsewhere"
"""A file beside a generation's plan: its job runs where it does not end with the command that began it."""


def jobs_elsewhere(dataset: str) -> frozenset[str]:
    """Generations whose job may still be running, or waits to be taken up."""
    plans = storage.join(dataset, "plan")
    return frozenset(
        name for name in storage.list_folders(plans) if storage.exists(storage.join(plans, name, ELSEWHERE))
    )


def remove_orphans(dataset: str, manifest: Manifest, keep: frozenset[str] = frozenset()) -> int:
    """Removes files that the manifest does not list: what a killed run left, or what an earlier one replaced.

    Only files in folders that are named as generations are: a file that somebody else put there is not ours to remove.

    Args:
      dataset: its path.
      manifest: its own.
      keep: generations whose files stay.

    Returns:
      how many.
    """
    known = {storage.join(dataset, file.path) for file in manifest.files()}
    removed = 0
    for kind in (*manifest.config.features, *WRITTEN):
        folder = storage.join(dataset, kind)
        for name in storage.list_folders(folder):
            if name not in keep and GENERATION_NAME.fullmatch(name):
                orphans = [path for path, _ in storage.list_files(storage.join(folder, name)) if path not in known]
                storage.remove_all(orphans)
                removed += len(orphans)
        storage.remove_empty_folders(folder)
    return removed


def locked(dataset: str) -> AbstractContextManager[None]:
    """Keeps a second writer away; the lock goes with its process, however that ends.

    Raises:
      FmaError: another process writes to the dataset.
    """
    return storage.locked(dataset, f"another command is writing to {dataset}: wait until it is done")
