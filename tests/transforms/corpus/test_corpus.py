"""What a corpus holds: formats, breakages, tables, splits, sound, archives."""

import csv
import io
import json
import os
import zipfile
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from transforms.audio.decode import AudioFacts, check_length, read_mono
from transforms.audio.mp3 import fit_bitrate
from transforms.catalog.metadata import read_catalog
from transforms.corpus.options import CorpusOptions
from transforms.corpus.plan import BREAKAGES, CHILDREN, GENRES, SMALL_GENRES, plan_songs
from transforms.corpus.sound import synthesise
from transforms.corpus.tables import declared_seconds
from transforms.corpus.writer import CorpusSummary, clip_bytes, render_mp3, write_corpus
from transforms.errors import TrackError
from transforms.tracks import SPLITS

QUICK = CorpusOptions(tracks_per_genre=3, clip_seconds=3, sample_rate=22_050, channels=1, bitrate=32, archives=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> CorpusSummary:
    """All subsets, three tracks of a genre, with archives."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), QUICK)


def decode(summary: CorpusSummary, member: str) -> AudioFacts:
    """What ingest finds out about a clip; raises TrackError as ingest does."""
    facts = AudioFacts()
    with open(os.path.join(summary.audio, member), "rb") as file:
        for _ in read_mono(file, facts):
            pass
    check_length(facts, summary.options.clip_seconds)
    return facts


def test_intact_clips_decode_to_their_declared_length_and_format(corpus):
    for song in corpus.intact:
        facts = decode(corpus, song.member)
        assert facts.seconds == pytest.approx(declared_seconds(song, corpus.options), abs=0.1)
        assert (facts.sample_rate, facts.channels) == (song.sample_rate, song.channels)
        assert facts.silent == song.silent
    assert sum(song.silent for song in corpus.songs) == 1


def test_rare_formats_are_among_the_clips(corpus):
    formats = {(song.sample_rate, song.channels) for song in corpus.intact}
    assert formats == {(22_050, 1), (22_050, 2), (8_000, 1), (44_100, 1), (48_000, 2)}


def test_most_default_clips_are_stereo_at_44100_hz():
    songs = plan_songs(CorpusOptions())
    usual = [song for song in songs if (song.sample_rate, song.channels) == (44_100, 2)]
    assert 0.75 < len(usual) / len(songs) < 0.95


@pytest.mark.parametrize("name", [name for name in BREAKAGES if name != "absent"])
def test_a_broken_file_fails_with_its_reason(corpus, name):
    kind = BREAKAGES[name]
    with pytest.raises(TrackError) as failure:
        decode(corpus, f"{kind.track_id // 1000:03d}/{kind.track_id:06d}.mp3")
    assert failure.value.reason == kind.reason == corpus.expected("small").failures[kind.track_id]


def test_one_row_has_no_file(corpus):
    absent = [song.broken for song in corpus.songs if not os.path.exists(os.path.join(corpus.audio, song.member))]
    assert absent == ["absent"]


def test_no_broken_leaves_broken_rows_out():
    options = CorpusOptions(broken=False)
    assert {song.broken for song in plan_songs(options)} == {""}


def test_tracks_csv_has_fmas_columns(corpus, fma_sample):
    def columns(path: str) -> list[str]:
        with open(path, encoding="utf-8", newline="") as file:
            groups, names, index = (row for row, _ in zip(csv.reader(file), range(3), strict=False))
        assert index == ["track_id", *[""] * (len(groups) - 1)]
        return [f"{group}/{name}" for group, name in zip(groups[1:], names[1:], strict=True)]

    ours = columns(os.path.join(corpus.metadata, "tracks.csv"))
    assert len(ours) == 52
    assert set(columns(str(fma_sample / "fma_metadata" / "tracks.csv"))) <= set(ours)


@pytest.mark.parametrize("subset", ["small", "medium", "large"])
def test_the_tables_read_back_as_the_summary_says(corpus, subset):
    catalog = read_catalog(corpus.metadata, subset)
    expected = corpus.expected(subset)
    assert {track.track_id for track in catalog.tracks} == {*expected.tracks, *expected.failures}
    assert catalog.skipped == expected.skipped
    labels = {song.track_id: (song.genre_top, song.split, song.artist_name) for song in corpus.songs}
    assert all(labels[track.track_id] == (track.genre, track.split, track.artist) for track in catalog.tracks)


def test_genres_csv_counts_ancestors_and_names_parents(corpus):
    with open(os.path.join(corpus.metadata, "genres.csv"), encoding="utf-8", newline="") as file:
        rows = {int(row["genre_id"]): row for row in csv.DictReader(file)}
    for song in corpus.songs:
        for genre in song.genres:
            assert int(rows[genre]["top_level"]) in song.genres_all
    assert int(rows[12]["#tracks"]) == sum(12 in song.genres_all for song in corpus.songs)


@pytest.mark.parametrize("count", [3, 20])
def test_splits_are_artist_disjoint_and_hold_every_genre(count):
    songs = plan_songs(CorpusOptions(tracks_per_genre=count))
    splits = defaultdict(set)
    for song in songs:
        splits[song.artist_name].add(song.split)
    assert all(len(found) == 1 for found in splits.values())
    for genre in SMALL_GENRES:
        assert {song.split for song in songs if song.genre_top == genre and song.subset == "small"} == set(SPLITS)


def test_eight_of_ten_tracks_train():
    intact = [song for song in plan_songs(CorpusOptions(subset="small")) if not song.broken]
    assert [sum(song.split == split for song in intact) for split in SPLITS] == [128, 16, 16]


def test_medium_adds_rows_and_a_genre_to_small():
    small, medium = (plan_songs(CorpusOptions(subset=subset)) for subset in ("small", "medium"))
    assert set(small) < set(medium)
    assert {song.genre_top for song in medium} - {song.genre_top for song in small} == {"Jazz"}


def test_ids_and_artist_names_stay_apart_in_a_large_corpus():
    songs = plan_songs(CorpusOptions(tracks_per_genre=2_000))
    assert len({song.track_id for song in songs}) == len(songs)
    artists = {song.artist_number: song.artist_name for song in songs}
    assert len(set(artists.values())) == len(artists)


def test_a_whole_songs_length_is_declared_when_asked_for():
    options = CorpusOptions(song_durations=True)
    assert all(30 < declared_seconds(song, options) < 600 for song in plan_songs(options))


def test_another_seed_gives_other_music():
    song = next(song for song in plan_songs(QUICK) if song.genre == "Rock")
    other = CorpusOptions(**QUICK.to_json() | {"seed": 1})
    assert clip_bytes(song, QUICK) == clip_bytes(song, QUICK) != clip_bytes(song, other)


def bands(genre: str, artist: int, track_id: int) -> np.ndarray:
    """Log energy in 24 bands a third of an octave wide or more, and its spread over time."""
    mono = synthesise(genre, artist, track_id, 4, seed=0).mean(axis=1)
    frames = np.abs(np.fft.rfft(mono[: len(mono) // 4096 * 4096].reshape(-1, 4096))) ** 2
    edges = np.unique(np.geomspace(3, 2049, 25).astype(int))
    log = np.log(np.add.reduceat(frames, edges[:-1], axis=1) + 1e-6)
    return np.concatenate([log.mean(axis=0), log.std(axis=0)])


def nearest(heard: np.ndarray, known: dict[str, np.ndarray]) -> str:
    return min(known, key=lambda name: float(np.linalg.norm(known[name] - heard)))


def test_genres_can_be_told_apart_across_artists_but_not_always():
    known = {genre: np.mean([bands(genre, artist, artist) for artist in range(6)], axis=0) for genre in SMALL_GENRES}
    right = [genre == nearest(bands(genre, artist, artist), known) for genre in SMALL_GENRES for artist in range(6, 9)]
    assert 0.35 < np.mean(right) < 1  # chance is 0.125


@pytest.mark.parametrize(
    ("sample_rate", "wanted", "given"),
    [
        (44_100, 32, 32),
        (44_100, 128, 128),
        (44_100, 256, 256),
        (48_000, 320, 320),
        (22_050, 256, 160),
        (8_000, 128, 64),
    ],
)
def test_a_clip_has_the_bit_rate_asked_for_or_the_highest_of_its_format(sample_rate, wanted, given):
    assert fit_bitrate(wanted, sample_rate) == given
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (4 * 44_100, 2)).astype(np.float32)
    mp3 = render_mp3(noise, sample_rate, 1, given)
    # MPEG-2.5 frames hold 72 ms: the padding at both ends is seen in 4 s.
    assert len(mp3) * 8 / 4_000 == pytest.approx(given, rel=0.07)
    assert soundfile.info(io.BytesIO(mp3)).samplerate == sample_rate


def test_archives_hold_the_clips_of_their_subsets(corpus):
    for subset in ("small", "medium"):
        with zipfile.ZipFile(os.path.join(corpus.out, f"fma_{subset}.zip")) as archive:
            clips = {name for name in archive.namelist() if name.endswith(".mp3")}
        expected = corpus.expected(subset)
        ids = {*expected.tracks, *expected.failures} - {133_299}  # the row without a file
        assert clips == {f"fma_{subset}/{track_id // 1000:03d}/{track_id:06d}.mp3" for track_id in ids}


def test_the_metadata_archive_is_bzip2_and_reads_like_the_folder(corpus):
    path = os.path.join(corpus.out, "fma_metadata.zip")
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_BZIP2}
    assert read_catalog(path, "medium").tracks == read_catalog(corpus.metadata, "medium").tracks


SEVERAL = CorpusOptions(**QUICK.to_json() | {"several": 20, "broken": False})


def test_tracks_of_several_genres_have_two_trees_and_cover_the_splits_by_artist():
    songs = plan_songs(SEVERAL)
    mixed = [song for song in songs if song.second]
    assert len(mixed) == 20 * len(SMALL_GENRES)
    assert not any(song.genre_top for song in mixed)
    for song in mixed:
        assert {GENRES[song.genre], GENRES[song.second]} <= set(song.genres_all)
        assert song.subset == "large" and song.second != song.genre
    for genre in SMALL_GENRES:
        assert {song.split for song in mixed if song.genre == genre} == set(SPLITS)
    splits = defaultdict(set)
    for song in songs:
        splits[song.artist_name].add(song.split)
    assert all(len(found) == 1 for found in splits.values())


def test_what_has_several_genres_sounds_of_both_and_a_sub_genre_has_a_sound_of_its_own():
    songs = plan_songs(SEVERAL)
    mixed = next(song for song in songs if song.second and not song.own_sound)
    alone = replace(mixed, second="")
    assert len({clip_bytes(song, SEVERAL) for song in (mixed, alone, replace(alone, genre=mixed.second))}) == 3
    sub = next(song for song in songs if song.own_sound)
    assert sub.genres[0] == CHILDREN[sub.genre][0]
    assert clip_bytes(sub, SEVERAL) != clip_bytes(replace(sub, own_sound=False), SEVERAL)
    assert not any(song.own_sound or song.second for song in plan_songs(QUICK))


def test_the_metadata_of_several_genres_reads_back(tmp_path):
    options = CorpusOptions(**QUICK.to_json() | {"several": 1, "broken": False, "archives": False})
    summary = write_corpus(tmp_path / "corpus", options)
    catalog = read_catalog(summary.metadata, "large")
    assert Counter(track.labelled for track in catalog.tracks)["genres"] == len(SMALL_GENRES) + 2
    assert {track.track_id for track in catalog.tracks} == set(summary.expected("large").tracks)


def test_a_corpus_of_before_there_was_an_option_is_one_with_its_default(tmp_path):
    options = CorpusOptions(**QUICK.to_json() | {"subset": "small", "broken": False, "archives": False})
    write_corpus(tmp_path / "corpus", options)
    stamp = tmp_path / "corpus" / "corpus.json"
    stamp.write_text(
        json.dumps({key: value for key, value in json.loads(stamp.read_text()).items() if key != "several"})
    )
    assert not write_corpus(tmp_path / "corpus", options).written
