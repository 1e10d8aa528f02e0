"""Sixty songs of one's own, from a csv to the report: so little music is said to be little at every step."""

import csv
import json
import re
from pathlib import Path

import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.trainers.report.test_report import Parsed
from trainers.evaluation.metrics import describe_interval
from trainers.report.html import percents
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.tracks import SPLITS

GENRES = ("Blues", "Folk", "Jazz", "Rock")
LONELY = "Polka"
"""A genre of one artist, beside the sixty songs: no split can test it."""

SMALL = ("--n-mels", "32", "--window-frames", "24", "--features", "raw,stats")


def make_songs(folder: Path) -> None:
    """60 songs by 20 artists, of 4 genres that are easy to distinguish, and three of `LONELY` by another artist."""
    rows = [(genre, f"{genre} {artist}") for genre in GENRES for artist in range(5) for _ in range(3)]
    rows += [(LONELY, "The Only Ones")] * 3
    with open(folder / "songs.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "genre", "artist"))
        for i, (genre, artist) in enumerate(rows):
            hz = 110 * 2 ** (*GENRES, LONELY).index(genre) + i % 15
            soundfile.write(folder / f"{i}.wav", tone(2, hz=hz, seed=i), 22_050)
            writer.writerow((f"{i}.wav", genre, artist))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_sixty_songs_get_every_genre_into_every_split_and_no_score_is_called_certain(tmp_path, capsys):
    make_songs(tmp_path)
    data, classical, deep, page = (str(tmp_path / name) for name in ("data", "baselines", "cnn", "report.html"))

    def fma_says(*words: str) -> tuple[str, str]:
        assert fma.main([*words]) == 0
        return tuple(capsys.readouterr())

    songs = ("--audio", str(tmp_path), "--metadata", str(tmp_path / "songs.csv"), "--split", "artist")
    _, warned = fma_says("ingest", *songs, "--out", data, *SMALL)
    tracks = list(read_tracks(data, load(data)))
    for genre in GENRES:
        assert {track.split for track in tracks if track.genre == genre} == set(SPLITS)
    assert len({(track.artist, track.split) for track in tracks}) == 21, "an artist is in one split"
    assert f"under 3 artists, too few to be in every split: {LONELY}; add music by other artists" in warned

    table, warned = fma_says("baselines", "--data", data, "--run", classical, "--models", "knn,gnb")
    assert "12 validation tracks, too few of some genre: hyper-parameters are chosen by cross-validation" in warned
    assert len(re.findall(r"^(knn|gnb) .*\(5 folds\)", table, re.MULTILINE)) == 2
    _, trained = fma_says("train", "waveform_cnn", "--data", data, "--run", deep, "--epochs", "1", "--width", ".1")
    for said in (warned, trained):
        rows = {tuple(line.split()) for line in said.splitlines()}
        assert rows >= {(genre, "15", "5", "9", "3", "3") for genre in GENRES} | {(LONELY, "3", "1", "3", "0", "0")}
        assert "--folds 5 scores on all tracks instead" in said

    fma_says("report", classical, deep, "--out", page)
    shown = Parsed(Path(page).read_text()).text
    models = json.loads(Path(classical, "metrics.json").read_text())["models"]
    scores = {name: models[name]["per_track"] for name in models}
    scores["waveform_cnn"] = json.loads(Path(deep, "metrics.json").read_text())["test"]["per_track"]
    assert any(score["accuracy"] == 1 for score in scores.values()), "the genres are easy to distinguish"
    for name, score in scores.items():
        low, high = score["interval"]
        assert high - low > 0.1, "twelve tracks say little, also where all are right"
        assert f"{name}{100 * score['accuracy']:.1f}%{percents(low, high)}" in shown
        assert name == "waveform_cnn" or describe_interval([low, high]) in table
    assert f"{LONELY}0–––" in shown
    assert "F1 by genre; –: no test tracks" in shown
