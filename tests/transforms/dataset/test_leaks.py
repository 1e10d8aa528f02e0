"""Copies of a recording are found whatever was done to the file, and other recordings are not taken for copies."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fma
from transforms.config import DatasetConfig
from transforms.dataset.leaks import Leak, audit, find_leaks, undetectable_leaks
from transforms.dataset.ledger import IngestedTrack
from transforms.dataset.manifest import Manifest, load

RATE = 22_050


def tune(seed: int, seconds: float = 16.0) -> np.ndarray:
    """Random notes over a beat of noise, float32 [n]."""
    random = np.random.default_rng(seed)
    step = RATE // 5
    parts = []
    for _ in range(round(seconds * 5)):
        t = np.arange(step) / RATE
        fade = np.exp(-t * random.uniform(2, 20))
        notes = sum(np.sin(2 * np.pi * hz * t) / (n + 1) for n, hz in enumerate(random.uniform(80, 3000, 4)))
        parts.append(0.15 * fade * notes + 0.05 * random.uniform() * random.standard_normal(step) * fade**4)
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Tracks 1 to 6 in training; in test copies of 1 (softer, other format), 2 (cut) and 3 (low bit rate), and 10."""
    folder = tmp_path_factory.mktemp("copies")
    tunes = {i: tune(i) for i in (*range(1, 7), 10)}
    tunes |= {7: 0.3 * tunes[1], 8: tunes[2][round(3.33 * RATE) :], 9: tunes[3]}
    files = {i: f"{i}.{'ogg' if i == 7 else 'mp3'}" for i in tunes}
    for i, samples in tunes.items():
        low = {"bitrate_mode": "CONSTANT", "compression_level": 0.7} if i == 9 else {}
        soundfile.write(folder / files[i], samples, RATE, **low)
    rows = [f"{i},{name},Rock,{'training' if i < 7 else 'test'}" for i, name in sorted(files.items())]
    (folder / "tracks.csv").write_text("\n".join(["track_id,path,genre,split", *rows]))
    arguments = ["--audio", str(folder), "--metadata", str(folder / "tracks.csv"), "--out", str(folder / "out")]
    assert fma.main(["ingest", *arguments, "--features", "mel", "--direct_running_mode", "in_memory"]) == 0
    return folder / "out"


def test_copies_in_other_formats_levels_cuts_and_bit_rates_are_found_and_nothing_else(dataset):
    leaks = audit(str(dataset), load(str(dataset)))
    assert [(leak.what, leak.where) for leak in leaks] == [
        ("recording", {"training": [1], "test": [7]}),
        ("recording", {"training": [2], "test": [8]}),
        ("recording", {"training": [3], "test": [9]}),
    ]


def test_mel_records_with_too_few_bands_show_no_recordings():
    assert undetectable_leaks(Manifest(DatasetConfig(n_mels=26))) == ()
    assert undetectable_leaks(Manifest(DatasetConfig(n_mels=25))) == ("recording",)


def test_verify_names_the_copies(dataset, capsys):
    assert fma.main(["verify", str(dataset)]) == 0
    assert "leak: the same recording 'track 1' in training (1), test (7)" in capsys.readouterr().out
    assert fma.main(["verify", str(dataset), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["leaks"]) == 3


def test_an_album_on_both_sides_of_a_split_is_a_leak_and_albums_of_one_title_are_told_apart_by_their_id():
    tracks = [
        IngestedTrack(i, "Rock", split, silent=True, album="Demo", album_id=album_id)
        for i, split, album_id in ((1, "training", "7"), (2, "test", "8"), (3, "validation", "8"))
    ]
    assert find_leaks(tracks) == [Leak("album", "Demo", {"validation": [3], "test": [2]})]
    tracks = [replace(track, album_id="") for track in tracks]
    assert find_leaks(tracks) == [Leak("album", "Demo", {"training": [1], "validation": [3], "test": [2]})]


def test_without_mel_records_near_duplicates_are_said_not_to_have_been_looked_for(tmp_path, capsys):
    soundfile.write(tmp_path / "1.mp3", tune(1), RATE)
    (tmp_path / "tracks.csv").write_text("track_id,path,genre,split\n1,1.mp3,Rock,training\n")
    arguments = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "out")]
    assert fma.main(["ingest", *arguments, "--features", "raw", "--direct_running_mode", "in_memory"]) == 0
    assert fma.main(["verify", str(tmp_path / "out")]) == 0
    assert "near-duplicate recordings were not looked for" in capsys.readouterr().out
