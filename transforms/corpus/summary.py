"""What a corpus holds and what ingest should make of it: the truth that tests compare with."""

import os
from collections import Counter
from dataclasses import dataclass

from transforms.corpus.broken import BY_NAME
from transforms.corpus.options import SUBSETS, CorpusOptions
from transforms.corpus.plan import Song


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that ingest should refuse: its id, how it is broken, and the reason expected."""

    track_id: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What an intact ingest of one subset finds.

    Attributes:
      tracks: ids that become records.
      by_split, by_genre: how many of them.
      failures: reason by id.
      skipped: rows left out, by reason.
    """

    tracks: tuple[int, ...]
    by_split: dict[str, int]
    by_genre: dict[str, int]
    failures: dict[int, str]
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """A corpus on disk.

    Attributes:
      out: its folder.
      options: what it was made from.
      songs: every row, by id.
      written: False where it was there already.
    """

    out: str
    options: CorpusOptions
    songs: tuple[Song, ...]
    written: bool

    @property
    def audio(self) -> str:
        """Folder of the clips, for --audio."""
        return os.path.join(self.out, "audio")

    @property
    def metadata(self) -> str:
        """Folder of the csv files, for --metadata."""
        return os.path.join(self.out, "fma_metadata")

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The rows that ingest should refuse."""
        rows = [song for song in self.songs if song.broken]
        return tuple(Broken(song.track_id, song.broken, BY_NAME[song.broken].reason) for song in rows)

    @property
    def intact(self) -> tuple[Song, ...]:
        """Rows with a playable file, labelled or not."""
        return tuple(song for song in self.songs if not song.broken)

    @property
    def silent(self) -> tuple[int, ...]:
        """Ids of clips of digital silence."""
        return tuple(song.track_id for song in self.songs if song.silent)

    @property
    def by_subset(self) -> dict[str, int]:
        """Intact clips, each under the smallest subset that holds it."""
        return dict(Counter(song.subset for song in self.intact))

    @property
    def by_split(self) -> dict[str, int]:
        """Intact clips by official split."""
        return dict(Counter(song.split for song in self.intact))

    @property
    def by_genre(self) -> dict[str, int]:
        """Intact, labelled clips by top genre."""
        return dict(Counter(song.genre_top for song in self.intact if song.genre_top))

    def expected(self, subset: str) -> Expected:
        """What ingest of a subset (with all smaller ones) should find."""
        inside = [song for song in self.songs if song.subset in SUBSETS[: SUBSETS.index(subset) + 1]]
        good = [song for song in inside if song.genre_top and not song.broken]
        skipped = {
            "not_in_subset": len(self.songs) - len(inside),
            "no_genre": sum(not song.genre_top for song in inside),
        }
        return Expected(
            tracks=tuple(song.track_id for song in good),
            by_split=dict(Counter(song.split for song in good)),
            by_genre=dict(Counter(song.genre_top for song in good)),
            failures={song.track_id: BY_NAME[song.broken].reason for song in inside if song.broken},
            skipped={reason: count for reason, count in skipped.items() if count},
        )
