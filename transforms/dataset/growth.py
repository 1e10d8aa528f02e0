"""Growth of a dataset: what is new, what changed or vanished, and who may write."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

from transforms import storage
from transforms.config import DatasetConfig, differences
from transforms.dataset.ledger import FailedTrack, read_failures, read_tracks
from transforms.dataset.leftovers import find_foreign
from transforms.dataset.manifest import Manifest, is_dataset, load
from transforms.errors import BusyError, UsageError
from transforms.runtime import console
from transforms.taxonomy import FLAT, Taxonomy
from transforms.tracks import Track

State = tuple[str, tuple[str, ...], str, int | None, int | None]
"""What counts as a change of a track: genre_top, genres, split, bytes and crc32 of its file."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The difference between a dataset and the metadata: what a run has to do."""

    new: list[Track]  # tracks to ingest, by id
    kept: int  # wanted tracks that the dataset has and that stay
    failed: int  # wanted tracks that failed before and are not tried again
    # shown ids of tracks whose file, genre or split is not what it was; among `new` if they are to be updated
    changed: list[int | str]
    vanished: list[int | str]  # shown ids of tracks in the dataset that the metadata does not name any more
    drop: set[int]  # ids of ingested tracks to remove
    drop_failures: set[int]  # ids of failed tracks to remove
    labels: list[str]  # the dataset's labels with the new ones appended
    genres: dict[str, str]  # the dataset's genres with the new ones appended, each with its parent
    regrouped: bool  # whether one of the dataset's genres gets another parent

    @property
    def has_work(self) -> bool:
        """Whether the dataset would change."""
        return bool(self.new or self.drop or self.drop_failures or self.regrouped)


def open_or_create(dataset: str, config: DatasetConfig) -> Manifest:
    """Return the dataset's manifest, or an empty one where there is none yet.

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
    """Raise UsageError unless the folder is empty or holds only what an interrupted first run has left."""
    if not storage.exists(dataset):
        return
    if not storage.is_dir(dataset):
        raise UsageError(f"--out {dataset} is a file; give a folder")
    foreign = find_foreign(dataset)
    if foreign is not None:
        raise UsageError(f"--out {dataset} is not empty and holds no dataset (it holds {foreign}); give another folder")


def plan_growth(
    dataset: str,
    manifest: Manifest,
    wanted: list[Track],
    known: frozenset[int],
    taxonomy: Taxonomy = FLAT,
    *,
    update: bool = False,
    retry: str | None = None,
) -> Growth:
    """Compare the wanted tracks with those that the dataset knows.

    Args:
      wanted: tracks of the metadata that belong to the run.
      known: ids of all rows of the metadata.
      taxonomy: of the wanted tracks' genres.
      update: whether changed tracks are read again, and vanished ones removed.
      retry: the reason whose failed tracks are tried again, "" for any reason, None for none.
    """
    ingested: dict[int, State] = {}
    failed: dict[int, str] = {}
    gone: dict[int, int | str] = {}  # shown ids by id
    for track in chain(read_tracks(dataset, manifest), read_failures(dataset, manifest)):
        if isinstance(track, FailedTrack):
            failed[track.track_id] = track.reason
        else:
            ingested[track.track_id] = _state(track)
        if track.track_id not in known:
            gone[track.track_id] = track.shown_id
    changed = [track for track in wanted if _has_changed(track, ingested.get(track.track_id))]
    retried = {track_id for track_id, reason in failed.items() if retry in ("", reason)}
    again = {track.track_id for track in changed} if update else set()
    new = [
        track
        for track in wanted
        if track.track_id in again
        or (track.track_id not in ingested and (track.track_id not in failed or track.track_id in retried))
    ]
    out = set(gone) if update else set()
    held = {name: taxonomy.parents.get(name, parent) for name, parent in manifest.genres.items()}
    names = {name for track in new for name in track.genres} | set(taxonomy.close(held))
    return Growth(
        new=new,
        kept=sum(track.track_id in ingested and track.track_id not in again for track in wanted),
        failed=sum(track.track_id in failed and track.track_id not in retried for track in wanted),
        changed=[track.shown_id for track in changed],
        vanished=[gone[track_id] for track_id in sorted(gone)],
        drop=again | (out & set(ingested)),
        drop_failures={track.track_id for track in new if track.track_id in failed} | (out & set(failed)),
        labels=manifest.labels + sorted({track.genre for track in new}.difference(manifest.labels, [""])),
        genres=held | {name: taxonomy.parents.get(name, "") for name in sorted(names.difference(held))},
        regrouped=held != manifest.genres,
    )


def _state(track: Track) -> State:
    return track.genre, track.genres, track.split, track.size, track.crc32


def _has_changed(track: Track, before: State | None) -> bool:
    """Return whether a track differs from its ledger line in a value that both have."""
    return before is not None and any(
        old != new for old, new in zip(before, _state(track), strict=True) if old is not None and new is not None
    )


def locked(dataset: str) -> AbstractContextManager[None]:
    """Lock the dataset against a second writer, until the process ends at the latest; BusyError where one writes."""
    return storage.locked(dataset, f"another command is writing to {dataset}: wait until it is done")


@contextmanager
def locked_when_free(dataset: str) -> Iterator[None]:
    """Lock the dataset as `locked` does, but where another command writes, wait until it is done, with a note."""
    with ExitStack() as stack:
        waiting = False
        while True:
            try:
                stack.enter_context(locked(dataset))
                break
            except BusyError:
                if not waiting:
                    console.log(f"another command is writing to {dataset}: waiting until it is done")
                waiting = True
        yield
