"""What a model is to predict of tracks that have many genres each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest
from transforms.errors import UsageError
from transforms.tracks import LABELS, Track

MIN_TRACKS = 20
"""Training tracks that a genre needs to be learned, unless another number is given."""


def choose_genres(tracks: Iterable[Track], names: Iterable[str], min_tracks: int) -> list[str]:
    """Return the genres with at least so many training tracks, in the order of the names.

    Where a genre is among them, so are its ancestors, which have all of its tracks.
    """
    counts = Counter(genre for track in tracks if track.split == "training" for genre in track.genres)
    return [name for name in names if counts[name] >= min_tracks]


def count_unknown(tracks: Iterable[Track], genres: Iterable[str], split: str) -> dict[str, int]:
    """Count the tracks of a split by genre, of genres that are not among those; in the order of their names."""
    known = set(genres)
    counts = Counter(name for track in tracks if track.split == split for name in track.genres if name not in known)
    return dict(sorted(counts.items()))


def parents_of(genres: Sequence[str], parents: Mapping[str, str]) -> dict[str, str]:
    """Return the parent of each of a model's genres; where it is not among them, the genre is at the top."""
    return {name: parent if (parent := parents.get(name, "")) in genres else "" for name in genres}


def choose_min_tracks(labels: str, given: int | None) -> int | None:
    """Return the training tracks that a genre needs to be learned, for --labels and --min-tracks; None for one label.

    Raises:
      UsageError: they contradict each other.
    """
    if labels == "all":
        return given or MIN_TRACKS
    if given is not None:
        raise UsageError("--min-tracks chooses genres for --labels all: give both, or neither")
    return None


@dataclass(frozen=True, eq=False)
class Targets:
    """The genres of tracks, in a table with a row for each track that has any."""

    genres: list[str]  # in the order of a model's outputs
    track_id: np.ndarray  # int64 [tracks], ascending
    truth: np.ndarray  # bool [tracks, genres], ancestors included
    splits: np.ndarray  # str [tracks], one of `transforms.tracks.SPLITS`

    @classmethod
    def of(cls, tracks: Iterable[Track], genres: Sequence[str]) -> "Targets":
        """Make the table of tracks: those without any genre are left out, and so are genres that are not given."""
        kept = sorted((one for one in tracks if one.labelled in LABELS["all"]), key=lambda track: track.track_id)
        places = {name: at for at, name in enumerate(genres)}
        truth = np.zeros((len(kept), len(genres)), bool)
        for row, track in enumerate(kept):
            truth[row, [places[name] for name in track.genres if name in places]] = True
        ids, splits = [track.track_id for track in kept], [track.split for track in kept]
        return cls(list(genres), np.array(ids, np.int64), truth, np.array(splits, str))

    @classmethod
    def read(cls, dataset: str, manifest: Manifest, min_tracks: int) -> "Targets":
        """Make the table of a dataset's tracks, of the genres with at least so many training tracks.

        Raises:
          FmaError: a ledger is missing or damaged.
        """
        tracks = list(read_tracks(dataset, manifest))
        return cls.of(tracks, choose_genres(tracks, manifest.genres, min_tracks))

    def rows(self, track_id: np.ndarray) -> np.ndarray:
        """Return the rows of tracks, int64 [n].

        Raises:
          KeyError: one of them is not in the table.
        """
        found = np.searchsorted(self.track_id, track_id)
        known = np.append(self.track_id, -1)[found] == track_id
        if not known.all():
            raise KeyError(int(np.asarray(track_id)[~known][0]))
        return found

    def share(self, split: str = "training") -> np.ndarray:
        """Return the share of a split's tracks that have each genre, float64 [genres]; 0 for a split without tracks."""
        truth = self.truth[self.splits == split]
        return truth.sum(axis=0) / max(1, len(truth))
