"""The genres of a dataset as a tree, with the tracks of each by split; as rows, and as a picture."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest
from transforms.runtime.figures import load_pyplot, save_png
from transforms.runtime.text import printable
from transforms.taxonomy import Taxonomy
from transforms.tracks import SPLITS, Track

ROW = 0.17  # inches
LEAST_HEIGHT = 2.5  # inches
COLOURS = {"training": "#4c72b0", "validation": "#dd8452", "test": "#55a868"}


@dataclass(frozen=True, slots=True)
class GenreRow:
    """A genre in the tree."""

    name: str
    parent: str  # or "" at the top
    depth: int  # 0 at the top
    tracks: dict[str, int]  # that have it or a genre below it, by split

    @property
    def lacking(self) -> list[str]:
        """Splits without a track of it."""
        return [split for split in SPLITS if not self.tracks[split]]

    def to_json(self) -> dict[str, Any]:
        """Return it for `fma show --json`."""
        return {"name": self.name, "parent": self.parent, "depth": self.depth, "tracks": self.tracks}


def count_genres(genres: Taxonomy, tracks: Iterable[Track]) -> list[GenreRow]:
    """Count tracks by genre and split; return the genres in the order of the tree, each before those below it."""
    counts = Counter((name, track.split) for track in tracks for name in track.genres)
    rows = []
    for name in genres.walk():
        by_split = {split: counts[name, split] for split in SPLITS}
        rows.append(GenreRow(name, genres.parents.get(name, ""), len(genres.line(name)) - 1, by_split))
    return rows


def read_genres(dataset: str, manifest: Manifest) -> list[GenreRow]:
    """Count the ingested tracks of a dataset; FmaError where a ledger is missing or damaged."""
    return count_genres(Taxonomy(manifest.genres), read_tracks(dataset, manifest))


def write_genre_tree(rows: list[GenreRow], path: str) -> None:
    """Write a PNG with bars for each genre, on a logarithmic scale: its tracks by split."""
    pyplot = load_pyplot()
    height = max(LEAST_HEIGHT, ROW * len(rows) + 1.1)
    figure, axis = pyplot.subplots(figsize=(9, height), layout="constrained")
    places = range(len(rows))
    for split, offset in zip(SPLITS, (-0.27, 0, 0.27), strict=True):
        counts = [row.tracks[split] for row in rows]
        axis.barh([place + offset for place in places], counts, 0.25, color=COLOURS[split], label=split)
    axis.set_xscale("log")
    axis.set_xlim(0.7, None)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter("")
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_yticks(list(places))
    labels = axis.set_yticklabels([f"{'    ' * row.depth}{printable(row.name)}" for row in rows], ha="left", fontsize=7)
    for label, row in zip(labels, rows, strict=True):
        label.set_parse_math(False)
        label.set_fontweight("normal" if row.depth else "bold")
        label.set_color("#c00000" if row.lacking else "black")
    axis.tick_params(axis="y", length=0, pad=150)
    axis.set_xlabel("tracks, ancestors included (red: a split has none)", fontsize=8)
    axis.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(SPLITS), frameon=False)
    axis.grid(axis="x", alpha=0.3)
    save_png(figure, path)
