"""Genres and the tree that they form; and what stands for a track's genres in its records."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms.records import Record
    from transforms.tracks import Track


@dataclass(frozen=True)
class Taxonomy:
    """Genres by name, each with its parent; a name that it does not know is a genre without one.

    Args:
      parents: name -> the parent's name, or "" for a genre at the top of its tree. A parent that is not among the
        names is at the top.

    Raises:
      ValueError: a genre is its own ancestor; the message is its name.
    """

    parents: Mapping[str, str] = field(default_factory=dict)
    _lines: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in self.parents:
            self.line(name)

    def line(self, name: str) -> tuple[str, ...]:
        """Return a genre and its ancestors, the top of its tree last."""
        if name not in self._lines:
            found = [name]
            while parent := self.parents.get(found[-1], ""):
                if parent in found:
                    raise ValueError(name)
                found.append(parent)
            self._lines[name] = tuple(found)
        return self._lines[name]

    def close(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return some genres with all of their ancestors, in the order of the names."""
        return tuple(sorted({one for name in names for one in self.line(name)}))

    def top(self, names: Iterable[str]) -> str:
        """Return the one genre at the top of all; "" where there are several trees, or no names.

        It is FMA's rule for `genre_top`: all of its 49,101 tracks whose genres are of one tree have that tree's top.
        """
        tops = {self.line(name)[-1] for name in names}
        return tops.pop() if len(tops) == 1 else ""

    def children(self, name: str) -> list[str]:
        """Return the genres right below a genre, in the order of their names; below "": those at the top."""
        known = {one for line in map(self.line, self.parents) for one in line}
        return sorted(one for one in known if self.parents.get(one, "") == name)

    def walk(self, name: str = "") -> Iterator[str]:
        """Yield all genres below a genre, each before its children."""
        for child in self.children(name):
            yield child
            yield from self.walk(child)

    def moved(self, other: "Taxonomy") -> list[tuple[str, str, str]]:
        """Return (name, parent here, parent there) of the genres that both know under different parents."""
        both = sorted(self.parents.keys() & other.parents.keys())
        return [
            (name, self.parents[name], other.parents[name])
            for name in both
            if self.parents[name] != other.parents[name]
        ]


FLAT = Taxonomy()
"""Genres without a tree."""


def alone(genre: str) -> tuple[str, ...]:
    """Return the genres of a track that has none but its genre_top, which is "" for none at all."""
    return (genre,) if genre else ()


@dataclass(frozen=True)
class Vocabulary:
    """The names that stand behind the ids of a dataset's records; both lists are append-only, so that no id shifts."""

    labels: tuple[str, ...]  # of `genre_top`, by label id
    genres: tuple[str, ...]  # of all genres, by genre id

    @cached_property
    def _label_ids(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.labels)}

    @cached_property
    def _genre_ids(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.genres)}

    def ids(self, track: "Track") -> tuple[int, tuple[int, ...]]:
        """Return what a track's records hold: its label and its genres, as `transforms.records.Record` has them."""
        label = self._label_ids[track.genre] if track.genre else -1
        if track.genres == alone(track.genre):
            return label, ()
        return label, tuple(sorted(self._genre_ids[name] for name in track.genres))

    def names(self, record: "Record") -> tuple[str, tuple[str, ...]]:
        """Return a record's genre_top ("" for none) and all of its genres, in the order of their names."""
        genre = self.labels[record.label] if record.label >= 0 else ""
        genres = tuple(sorted(self.genres[at] for at in record.genres))
        return genre, genres or alone(genre)

    def find_mismatch(self, record: "Record", labelled: str) -> str:
        """Return what a record has that none with these names has in a shard of tracks that are so labelled, or ""."""
        lowest, end = (0, len(self.labels)) if labelled == "top" else (-1, 0)
        if not lowest <= record.label < end:
            return f"label {record.label} of {end}"
        wrong = [at for at in record.genres if not 0 <= at < len(self.genres)]
        return f"genre {wrong[0]} of {len(self.genres)}" if wrong else ""
