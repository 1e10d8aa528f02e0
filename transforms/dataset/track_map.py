"""A map of a dataset: its tracks on a plane, so that those that an encoder finds similar lie close together."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transforms.dataset.embeddings import read_embeddings
from transforms.dataset.manifest import Manifest
from transforms.dataset.neighbours import place
from transforms.runtime.figures import load_pyplot, save_png
from transforms.runtime.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TRACKS = 2000  # on a map: more would hide each other
COMPONENTS = 50  # principal components that t-SNE starts from, as its authors do
PERPLEXITY = 30.0
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito (2008): people with any kind of colour vision tell them apart, and shapes help."""
SHAPES = ("circle", "triangle", "square")
OTHERS, NO_GENRE = "other genres", "no top genre"
GREY = "#8a8a8a"
_MARKERS = {"circle": "o", "triangle": "^", "square": "s"}


@dataclass(frozen=True, slots=True)
class Group:
    """Tracks that are drawn alike."""

    name: str  # of their genre, or one of OTHERS and NO_GENRE
    colour: str  # as #rrggbb
    shape: str  # one of SHAPES
    rows: np.ndarray  # int64, of the map


@dataclass(frozen=True)
class TrackMap:
    """The places of tracks on a plane, which has no directions or units."""

    encoder: str  # whose embeddings are compared
    tracks: int  # of the dataset, of which the map has a sample
    track_id: np.ndarray  # int64 [n], ascending
    label: np.ndarray  # int64 [n], of the top genre, -1 where there is none
    vectors: np.ndarray  # float32 [n, e], of length 1
    places: np.ndarray  # float32 [n, 2] in [0, 1]
    groups: tuple[Group, ...]  # in the order of the genres' labels


def read_map(dataset: str, manifest: Manifest, encoder: str) -> TrackMap:
    """Place a sample of a dataset's tracks on a map; `read_embeddings` lists the errors."""
    found = read_embeddings(dataset, manifest, encoder)
    rows = draw_sample(found.track_id)
    vectors, label = place(found.mean)["vectors"][rows], found.label[rows]
    groups = group(label, manifest.labels)
    return TrackMap(encoder, len(found.track_id), found.track_id[rows], label, vectors, project(vectors), groups)


def draw_sample(track_id: np.ndarray, most: int = MOST_TRACKS) -> np.ndarray:
    """Return the rows of up to `most` tracks, int64, ascending: those with the smallest hashes.

    A dataset that grows keeps most of its sample, and the order of its tracks does not matter.
    """
    if len(track_id) <= most:
        return np.arange(len(track_id))
    hashes = [hashlib.sha256(f"map:{number}".encode()).digest() for number in track_id.tolist()]
    return np.sort(np.array(sorted(range(len(hashes)), key=hashes.__getitem__)[:most], np.int64))


def project(vectors: np.ndarray) -> np.ndarray:
    """Return places float32 [n, 2] in [0, 1] for vectors [n, e]; the same for the same vectors, on the same machine.

    By t-SNE (van der Maaten and Hinton, 2008), from principal components on. Neighbours stay neighbours; how far groups
    lie from each other says little.
    """
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32)
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums over several threads differ in their last digits, and places then altogether
        components = PCA(min(COMPONENTS, *vectors.shape), random_state=0).fit_transform(vectors)
        places = _tsne(np.pad(components, ((0, 0), (0, max(0, 2 - components.shape[1])))))
    low, high = places.min(axis=0), places.max(axis=0)
    return ((places - low) / np.where(high > low, high - low, 1)).astype(np.float32)


def _tsne(components: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)


def group(label: np.ndarray, labels: Sequence[str]) -> tuple[Group, ...]:
    """Group tracks by genre, each with a look of its own; the rarest share one where there are too many."""
    looks = [(COLOURS[i % 6], SHAPES[(i + i // 6) % 3]) for i in range(len(COLOURS) * len(SHAPES))]
    counts = Counter(label[label >= 0].tolist())
    shown = sorted(range(len(labels)), key=lambda genre: -counts[genre])[: len(looks)]
    groups = [
        Group(labels[genre], *look, np.flatnonzero(label == genre))
        for genre, look in zip(sorted(shown), looks, strict=False)
    ]
    groups.append(Group(OTHERS, GREY, "triangle", np.flatnonzero((label >= 0) & ~np.isin(label, shown))))
    groups.append(Group(NO_GENRE, GREY, "circle", np.flatnonzero(label < 0)))
    return tuple(group for group in groups if len(group.rows))


def write_map(track_map: TrackMap, path: str) -> None:
    """Write the map as a PNG, with a legend of its genres."""
    pyplot = load_pyplot()
    figure, axis = pyplot.subplots(figsize=(10, 7), layout="constrained")
    size = 36 if len(track_map.track_id) <= 500 else 16
    for genre in track_map.groups:
        x, y = track_map.places[genre.rows].T
        name = f"{printable(genre.name)} ({len(genre.rows):,})"
        axis.scatter(
            x, y, size, genre.colour, _MARKERS[genre.shape], label=name, edgecolors="#202020", linewidths=0.4, alpha=0.9
        )
    axis.set(xticks=[], yticks=[], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.set_title(describe(track_map), fontsize=9, loc="left")
    _add_legend(axis)
    save_png(figure, path)


def _add_legend(axis: "Axes") -> None:
    legend = axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9, title="genre (tracks)")
    for text in legend.get_texts():
        text.set_parse_math(False)


def describe(track_map: TrackMap) -> str:
    """Return a sentence that says what is on the map."""
    shown = len(track_map.track_id)
    some = f"{shown:,} of {track_map.tracks:,} tracks" if shown < track_map.tracks else f"{shown:,} tracks"
    return f"{some} by the embeddings of {track_map.encoder} (t-SNE): similar ones lie close together"
