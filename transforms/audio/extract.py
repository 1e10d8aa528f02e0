"""Extraction: from a track's bytes to its records of every kind, with one decode."""

import hashlib
from collections.abc import Callable, Iterable
from typing import BinaryIO

from transforms.audio.decode import (
    AudioFacts,
    StartOverError,
    Way,
    check_length,
    check_longest,
    read_mono,
    resample,
)
from transforms.audio.features import KINDS, Feature, to_pcm16
from transforms.config import DatasetConfig
from transforms.errors import TrackError
from transforms.records import Record
from transforms.tracks import Track, TrackFacts

Write = Callable[[str, Record], None]
GenreIds = tuple[int, tuple[int, ...]]  # as `transforms.taxonomy.Vocabulary.ids` returns them


def extract(
    track: Track,
    file: BinaryIO,
    ids: GenreIds,
    config: DatasetConfig,
    write: Write,
    *,
    restart: Callable[[], None],
    longest: float | None = None,
) -> TrackFacts:
    """Compute every feature of a track and write each record, in window order for each kind.

    Records are written while the track is decoded, so they have to be rolled back where it fails.

    Args:
      file: the bytes of the track, seekable.
      ids: of its label and of its genres, for its records.
      write: called as write(kind, record).
      restart: called where the track begins again, since another way to decode it is needed: what was written of it
        does not count.
      longest: seconds of audio that a track may have or declare; None: any.

    Raises:
      TrackError: with its reason.
    """
    way = Way()
    while True:
        try:
            return _attempt(track, file, ids, config, way=way, write=write, longest=longest)
        except StartOverError as error:
            way = error.way
            restart()


def _attempt(
    track: Track, file: BinaryIO, ids: GenreIds, config: DatasetConfig, *, way: Way, write: Write, longest: float | None
) -> TrackFacts:
    label, genres = ids
    facts = AudioFacts()
    extractors = {name: KINDS[name].extractor(config) for name in config.features}
    hashed = hashlib.sha256()
    samples = 0

    def write_all(kind: str, features: Iterable[Feature]) -> None:
        for feature in features:
            write(kind, Record(track.track_id, feature.window, feature.start, label, feature.payload, genres))

    for block in resample(read_mono(file, facts, way), facts, config.sample_rate, config.resampler):
        check_longest(facts, longest)
        hashed.update(to_pcm16(block).data)
        samples += len(block)
        for kind, extractor in extractors.items():
            write_all(kind, extractor.push(block))
    check_length(facts, track.duration)
    windows = config.count_windows(samples)
    if not windows:
        raise _too_short(facts.seconds, samples // config.hop_length, config)
    for kind, extractor in extractors.items():
        write_all(kind, extractor.finish())
    declared = facts.declared_seconds
    return TrackFacts(
        seconds=round(facts.seconds, 3),
        windows=windows,
        silent=facts.silent,
        audio_sha256=hashed.hexdigest(),
        zeroed_share=round(facts.zeroed_share, 6),
        decoder=facts.decoder,
        declared_seconds=None if declared is None else round(declared, 3),
        truncated=facts.truncated,
        antiphase=facts.antiphase,
    )


def _too_short(seconds: float, frames: int, config: DatasetConfig) -> TrackError:
    """Return the error for a track of so many whole frames, fewer than a window has."""
    remedy = "use a longer recording"
    if frames:
        remedy += f", or a new dataset with --window-frames {frames}, and a model of that"
    return TrackError("too_short", f"{seconds:.2f} s, and a window has {config.window_seconds:.2f} s: {remedy}")
