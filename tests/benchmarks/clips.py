"""The clips that are measured: FMA's average bit rate, made here, and real ones where the sample is at hand."""

import os
from pathlib import Path

import fma
from tests.conftest import DATA

SMALLEST_REAL = 400_000
"""Bytes of 25 s at 128 kb/s: the sample's clips of 30 s, without its short and broken ones."""


def made(folder: Path, count: int, *, seconds: int = 30, bitrate: int = 256) -> list[Path]:
    """Synthetic stereo clips at 44.1 kHz with a constant bit rate; those that are there are taken."""
    per_genre = -(-count // 6)  # a few of each genre are made with another rate or in mono, as some of FMA's are
    corpus = folder / f"made-{seconds}s-{bitrate}k-{per_genre}"
    options = ["--tracks-per-genre", str(per_genre), "--bitrate", str(bitrate), "--clip-seconds", str(seconds)]
    code = fma.main(["sample", "--out", str(corpus), "--subset", "small", "--no-broken", *options])
    assert code == 0, "fma sample failed"
    usual = bitrate * 1000 // 8 * seconds * 0.95
    return [path for path in sorted(corpus.glob("audio/*/*.mp3")) if path.stat().st_size > usual][:count]


def real(count: int) -> list[Path]:
    """Clips of the real sample, 128 kb/s; none where it is absent."""
    paths = [path for path in sorted(DATA.glob("fma_sample/audio/000/*.mp3")) if path.stat().st_size > SMALLEST_REAL]
    return paths[:: max(1, len(paths) // count)][:count]


def linked(folder: Path, clips: list[Path], count: int, name: str = "music") -> Path:
    """A folder of `count` tracks, each a hard link to one of the clips, with a plain tracks.csv; returns its path."""
    music = folder / f"{name}-{count}"
    music.mkdir(parents=True, exist_ok=True)
    lines = ["track_id,path,genre,artist,split"]
    for i in range(count):
        link = music / f"{i}.mp3"
        if not link.exists():
            os.link(clips[i % len(clips)], link)
        lines.append(f"{i},{link.name},Genre {i % 8},artist {i % 50},{('training', 'training', 'test')[i % 3]}")
    (music / "tracks.csv").write_text("\n".join(lines) + "\n")
    return music
