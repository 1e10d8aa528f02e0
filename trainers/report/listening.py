"""Tracks to look at and to listen to: a picture of each, a player where there is a clip of it, and what to know."""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from trainers.report.html import Content, Html, element, fragment
from trainers.report.over_time import OverTime
from transforms.audio.clips import SECONDS, Clip, ClipCutter
from transforms.audio.decoder_process import Limits
from transforms.catalog.locate import locate_again
from transforms.dataset.ledger import IngestedTrack
from transforms.errors import TrackError
from transforms.runtime import console
from transforms.tracks import Track

Tracks = Mapping[int, Track]  # tracks by id, as far as they are known


def name_of(track_id: int, tracks: Tracks) -> str:
    """Name a track by title and artist, such as `Moonrise, Yongen (348)`, as far as they are known."""
    track = tracks.get(track_id)
    words = [word for word in (track.title, track.artist) if word] if track else []
    shown = shown_id(track_id, tracks)
    return f"{', '.join(words)} ({shown})" if words else f"track {shown}"


def shown_id(track_id: int, tracks: Tracks) -> str:
    """Return a track's id as the metadata has it."""
    track = tracks.get(track_id)
    return str(track.shown_id if track else track_id)


@dataclass(frozen=True)
class Card:
    """A track in a list."""

    track_id: int
    link: str  # anchor of what else the page says of the track
    lines: Sequence[Content]  # what to know of it


@dataclass(frozen=True)
class Listening:
    """Pictures and clips of the tracks that a page names; each clip is in the page once."""

    tracks: Tracks = field(default_factory=dict)
    pictures: Mapping[int, bytes] = field(default_factory=dict)  # PNGs by track
    clips: Mapping[int, Clip] = field(default_factory=dict)  # by track
    over_time: OverTime = field(default_factory=OverTime)  # a model's answers, below the pictures
    played: set[int] = field(default_factory=set)  # tracks whose player is in the page already

    def cards(self, cards: Sequence[Card]) -> Html:
        """Return a list of tracks."""
        return element("ul", [element("li", self._card(card)) for card in cards], class_="tracks")

    def _card(self, card: Card) -> list[Content]:
        name = element("a", name_of(card.track_id, self.tracks), href=f"#{card.link}")
        lines = [element("span", line, class_="above") for line in card.lines]
        seen = fragment(self.picture(card.track_id), self.over_time.strips.get(card.track_id))
        sight = element("div", seen, class_="sight") if seen else None
        return [sight, element("span", name, lines, class_="words"), self.player(card.track_id)]

    def picture(self, track_id: int) -> Html | None:
        """Return the picture of a track; None where there is none."""
        if track_id not in self.pictures:
            return None
        alt = f"mel spectrogram of {name_of(track_id, self.tracks)}"
        return element("img", src=_inside("image/png", self.pictures[track_id]), alt=alt, class_="mel")

    def player(self, track_id: int) -> Html | None:
        """Return a player of a track's clip, the second time a link to it; None where there is none."""
        clip, anchor = self.clips.get(track_id), f"sound-{track_id}"
        if clip is None:
            return None
        if track_id in self.played:
            return element("a", "has its player above", href=f"#{anchor}", class_="player")
        self.played.add(track_id)
        track = self.tracks.get(track_id)
        label = f"{name_of(track_id, self.tracks)}, {SECONDS} s from second {clip.start} on"
        source = _inside("audio/mpeg", clip.mp3)
        sound = element("audio", src=source, controls=True, preload="none", aria_label=label, id=anchor)
        licence = element("span", track.license, class_="path") if track and track.license else None
        return element("span", sound, licence, class_="player")


def _inside(type_: str, data: bytes) -> str:
    """Return an address that holds the data itself."""
    return f"data:{type_};base64,{base64.b64encode(data).decode()}"


def cut_clips(tracks: Iterable[IngestedTrack], wanted: Mapping[int, IngestedTrack], audio: str) -> dict[int, Clip]:
    """Return clips of the wanted tracks, by id; those that have none are counted in a note.

    Args:
      tracks: all of the dataset.
      wanted: by id.
      audio: the folder or zip that has them; see `locate_again`.

    Raises:
      UsageError: `locate_again` finds none.
      FmaError: a disk or a network failed.
    """
    every: list[Track] = list(tracks)
    located = [track for track in locate_again(every, audio) if track.track_id in wanted]
    clips: dict[int, Clip] = {}
    failed: Counter[str] = Counter()
    with closing(ClipCutter(Limits())) as cutter, console.progress("clips", len(located), "tracks") as progress:
        for track in located:
            try:
                clips[track.track_id] = cutter.cut(track, wanted[track.track_id])
            except TrackError as error:
                failed[error.reason] += 1
            progress.advance()
    if failed:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(failed.items()))
        console.log(f"note: {console.counted(failed.total(), 'track')} without a player: {reasons}")
    return clips
