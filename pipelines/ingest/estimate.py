"""`fma ingest --estimate`: what an ingestion would cost, from a sample of its tracks that is really ingested."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

from transforms.audio.decoder_process import Limits
from transforms.config import DatasetConfig
from transforms.dataset.build import ShardBuilder
from transforms.dataset.generation import ShardResult
from transforms.dataset.plan import ShardPlan, shard_of
from transforms.errors import FmaError
from transforms.runtime import console, cores, temporary
from transforms.runtime.console import human_bytes, human_seconds
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

STARTERS = 10  # tracks of a first, short run: the difference to the long one has no start-up in it
CORES = (1, 2, 8, 32, 128)
BUCKETS = 1 << 30


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a track of the sample cost on average."""

    tracks: int  # to ingest in all
    measured: int  # in the sample
    failed: int  # of the sample
    cpu_s: float  # core-seconds a track
    wall_s: float  # seconds a track, one after the other: more than `cpu_s` where reading has to wait
    bytes: float  # written a track

    @property
    def core_hours(self) -> float:
        """Core-hours of the whole ingestion."""
        return self.tracks * self.cpu_s / 3600

    @property
    def total_bytes(self) -> float:
        """Bytes that the whole ingestion writes."""
        return self.tracks * self.bytes

    def wall_seconds(self, cores: int) -> float:
        """Return how long the ingestion takes with a worker on each core, without their start."""
        return self.tracks * self.wall_s / cores


def choose_sample(tracks: Sequence[Track], count: int) -> list[Track]:
    """Return at most `count` tracks, as good as random and the same every time: by a hash of the id."""
    return sorted(tracks, key=lambda track: (shard_of(track.track_id, BUCKETS), track.track_id))[:count]


def estimate(tracks: Sequence[Track], config: DatasetConfig, count: int, limits: Limits) -> Estimate:
    """Ingest a sample of `count` tracks, at least one, into a folder that is removed again.

    Raises:
      FmaError: the disk or the audio's place failed.
    """
    sample = choose_sample(tracks, count)
    starters = sample[: min(STARTERS, len(sample) // 2)]
    with (
        temporary.new_folder() as folder,
        console.progress("estimate", len(starters) + len(sample), "tracks") as progress,
    ):
        labels = sorted({track.genre for track in sample if track.genre})
        vocabulary = Vocabulary(tuple(labels), tuple(sorted({name for track in sample for name in track.genres})))

        def build(part: list[Track]) -> tuple[float, float, ShardResult]:
            builder = ShardBuilder(
                folder, "estimate", vocabulary, config, limits=limits, on_track=lambda _: progress.advance()
            )
            return _measure(builder, part)

        cpu, wall, _ = build(starters) if starters else (0.0, 0.0, None)
        whole_cpu, whole_wall, result = build(sample)
    more = len(sample) - len(starters)
    return Estimate(
        tracks=len(tracks),
        measured=len(sample),
        failed=sum(result.failures.values()),
        cpu_s=_per_track(whole_cpu, cpu, len(sample), more),
        wall_s=_per_track(whole_wall, wall, len(sample), more),
        bytes=sum(file.bytes for file in result.files) / len(sample),
    )


def _per_track(whole: float, start: float, tracks: int, more: int) -> float:
    """Seconds a track; with its share of the start where the sample is so small that noise hides what a track costs."""
    return (whole - start) / more if whole > start else whole / tracks


def _measure(builder: ShardBuilder, tracks: list[Track]) -> tuple[float, float, ShardResult]:
    """Build a shard; return core-seconds, seconds and what was built."""
    cpu, wall = _cpu_seconds(), time.monotonic()
    try:
        result = builder.build(ShardPlan("training", 0, 1, tuple(tracks)))
    finally:
        builder.close()  # its process is waited for, so that its time is counted
    if result.error:
        raise FmaError(result.error)
    return _cpu_seconds() - cpu, time.monotonic() - wall, result


def _cpu_seconds() -> float:
    times = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in times)


def as_json(found: Estimate, price: float | None) -> dict[str, object]:
    """Return the estimate as plain values."""
    values: dict[str, object] = {
        "tracks": found.tracks,
        "measured": found.measured,
        "failed": found.failed,
        "cpu_s_per_track": found.cpu_s,
        "core_hours": found.core_hours,
        "bytes": round(found.total_bytes),
        "wall_s_by_cores": {str(count): found.wall_seconds(count) for count in sorted({*CORES, cores()})},
    }
    return values | ({} if price is None else {"price": found.core_hours * price})


def show(found: Estimate, price: float | None) -> None:
    """Print the estimate."""
    each = f"{1000 * found.cpu_s:.1f} ms of CPU and {human_bytes(found.bytes)} a track"
    failed = f", {found.failed:,} failed" if found.failed else ""
    console.say(f"measured on {found.measured:,} of {found.tracks:,} tracks{failed}: {each}, start-up not included")
    console.say()
    rows = [("core-hours", _figure(found.core_hours)), ("written", human_bytes(found.total_bytes))]
    rows += [] if price is None else [("price", _figure(found.core_hours * price))]
    for count in sorted({*CORES, cores()}):
        rows.append((f"time on {count} core{'s' * (count != 1)}", human_seconds(found.wall_seconds(count))))
    console.table(f"to ingest {found.tracks:,} tracks", ("", "about"), rows)
    console.say()
    console.say("cores like these, a worker on each; add the start of machines, and storage and network at your prices")


def _figure(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"
