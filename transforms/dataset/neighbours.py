"""The tracks of a dataset that are the most similar to a song: by the angle between vectors of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from transforms.dataset import vector_index
from transforms.dataset.embeddings import read_embeddings, require_embeddings
from transforms.dataset.ledger import IngestedTrack, read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.vector_index import IndexedVectors
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.runtime.invocation import command_line

SHOWN = ("title", "artist", "genre", "license")
BLOCK = 4096  # tracks that are compared with all others at once
MANY = 200_000  # tracks whose embeddings take half a minute to read


@dataclass(frozen=True)
class Neighbours:
    """Vectors of tracks, standardised over the tracks, and what is known of each."""

    tracks: Sequence[dict[str, Any]]  # as `describe_tracks` returns them
    track_id: np.ndarray  # int64 [tracks]
    vectors: np.ndarray | IndexedVectors  # float32 [tracks, e], of length 1
    shift: np.ndarray  # float32 [d], the mean over the tracks
    scale: np.ndarray  # float32 [d], 1 / their standard deviation, 0 where they do not vary

    def nearest(self, vector: np.ndarray, count: int) -> list[dict[str, Any]]:
        """Return up to `count` tracks that are the most similar to a song's vector, float32 [d].

        They have their `similarity`, the cosine in [-1, 1], the highest first.
        """
        standardised = (vector[None] - self.shift) * self.scale
        return self._describe(*self._closest(directions(standardised, self.vectors.shape[1])[0], count))

    def nearest_to(self, track_id: int, count: int) -> list[dict[str, Any]]:
        """Return up to `count` other tracks that are the most similar to one of them, as `nearest` does.

        Raises:
          KeyError: it is none of them.
        """
        found = np.flatnonzero(self.track_id == track_id)
        if not len(found):
            raise KeyError(track_id)
        rows, cosines = self._closest(self.vectors[found[0]], count + 1)
        others = rows != found[0]
        return self._describe(rows[others][:count], cosines[others][:count])

    def _closest(self, direction: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows, int64, and the cosines of the tracks whose vectors are the closest, the closest first."""
        if isinstance(self.vectors, IndexedVectors):
            return self.vectors.closest(direction, count)
        cosines = self.vectors @ direction
        rows = np.argsort(-cosines, kind="stable")[:count]
        return rows, cosines[rows]

    def _describe(self, rows: np.ndarray, cosines: np.ndarray) -> list[dict[str, Any]]:
        similarity = np.clip(cosines, -1, 1).tolist()
        pairs = zip(rows.tolist(), similarity, strict=True)
        return [self.tracks[row] | {"similarity": round(cosine, 4)} for row, cosine in pairs]


def choose_encoder(dataset: str, manifest: Manifest, given: str | None) -> str:
    """Return the name of the encoder whose embeddings are compared: the one given, or the dataset's only one.

    Raises:
      UsageError: there is none, or there are several and none is given.
    """
    names = list(manifest.encoders)
    if given or len(names) == 1:
        return given or names[0]
    if names:
        raise UsageError(f"{dataset} has embeddings of several encoders: choose one, --encoder {' or '.join(names)}")
    embed = command_line("embed", dataset, "--encoder", "yamnet")
    raise UsageError(f"{dataset} has no embeddings, by which tracks are compared: run {embed}")


def read_neighbours(dataset: str, manifest: Manifest, encoder: str, folder: str | None = None) -> Neighbours:
    """Open the neighbours among all tracks of a dataset, by the means of their embeddings.

    Args:
      encoder: its name.
      folder: where an index is kept, which is made where there is none of these embeddings; without a folder, a search
        compares all tracks.

    Raises:
      UsageError: the dataset has no such embeddings, or of some tracks only; or there can be no index.
      FmaError: a file is damaged.
    """
    require_embeddings(dataset, manifest, encoder)
    if folder:
        digest = manifest.records_digest([manifest.encoders[encoder].kind])
        name = f"{encoder}-{digest[:16]}"
        arrays = vector_index.read(folder, name)
        if arrays is None:
            arrays = vector_index.write(folder, name, _place_tracks(dataset, manifest, encoder))
    else:
        arrays = _place_tracks(dataset, manifest, encoder)
        if len(arrays["track_id"]) > MANY:
            console.log("note: all embeddings are read for one search; --index FOLDER keeps an index of them")
    return Neighbours(describe_tracks(read_tracks(dataset, manifest), arrays["track_id"].tolist()), **arrays)


def _place_tracks(dataset: str, manifest: Manifest, encoder: str) -> dict[str, Any]:
    found = read_embeddings(dataset, manifest, encoder)
    return place(found.mean) | {"track_id": found.track_id}


def place(values: np.ndarray, most: int | None = None) -> dict[str, np.ndarray]:
    """Return `vectors`, `shift` and `scale` of `Neighbours` for float32 [tracks, d]; for `most` see `directions`."""
    shift, deviation = values.mean(axis=0), values.std(axis=0)
    varies = deviation > 1e-6 * np.abs(shift) + 1e-12
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0).astype(np.float32)
    return {"vectors": directions((values - shift) * scale, most), "shift": shift, "scale": scale}


def describe_tracks(
    ledger: Iterable[IngestedTrack], track_ids: Sequence[int], shown: Sequence[str] = SHOWN
) -> list[dict[str, Any]]:
    """Return the `track_id` of each track and, of the fields `shown`, those that its ledger line states."""
    known = {track.track_id: track for track in ledger}
    described = []
    for track_id in track_ids:
        track = known.get(track_id)
        facts = {name: getattr(track, name, "") for name in shown}
        shown_id = track.shown_id if track else track_id
        described.append({"track_id": shown_id} | {name: value for name, value in facts.items() if value})
    return described


def share_of_same(vectors: np.ndarray, label: np.ndarray, artist: np.ndarray, count: int = 1) -> float:
    """Return the share of tracks of the same genre among the `count` tracks of other artists that are the nearest.

    Args:
      vectors: float32 [tracks, e], of length 1.
      label: int64 [tracks]; -1, no genre, takes no part.
      artist: str [tracks]; where it is "", only the track itself is left out.
    """
    rows = np.flatnonzero(label >= 0)
    vectors, label, artist = vectors[rows], label[rows], artist[rows]
    same = 0
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        cosines = vectors[part] @ vectors.T
        cosines[(artist[part, None] == artist) & (artist != "")] = -np.inf
        cosines[np.arange(len(cosines)), np.arange(len(rows))[part]] = -np.inf
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        same += int((label[nearest] == label[part, None]).sum())
    return same / (count * max(1, len(rows)))


def directions(values: np.ndarray, most: int | None = None) -> np.ndarray:
    """Return vectors of length 1, float32 [n, d]; a vector of zeros stays as it is.

    Those of more than `most` dimensions go through a random projection to so many (Johnson and Lindenstrauss, 1984);
    one to 512 moves cosines by about 0.04.
    """
    if most and values.shape[1] > most:
        values = values @ _projection(values.shape[1], most)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.maximum(length, 1e-12)).astype(np.float32)


@lru_cache(maxsize=2)
def _projection(width: int, most: int) -> np.ndarray:
    matrix = np.random.default_rng(0).standard_normal((width, most), np.float32)
    return matrix / np.float32(np.sqrt(most))
