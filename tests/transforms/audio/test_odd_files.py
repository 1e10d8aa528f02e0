"""Seconds are accounted for as tracks are: what plays elsewhere is ingested whole, or it is said what is missing."""

import io
import json
import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest

from tests.conftest import encoded
from tests.transforms.audio.odd_files import (
    FAMILIAR,
    OGG,
    VARIANTS,
    Recipe,
    antiphase,
    by_ffmpeg,
    by_sndfile,
    cut,
    music,
)
from transforms.audio.decode import AudioFacts, StartOverError, Way, read_mono
from transforms.audio.extract import extract
from transforms.config import DatasetConfig
from transforms.dataset.build import ShardBuilder
from transforms.dataset.plan import ShardPlan
from transforms.errors import TrackError
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track, TrackFacts

CONFIG = DatasetConfig(features=("raw",), window_frames=20, window_hop_frames=20)
RECIPES = FAMILIAR | VARIANTS
PADDING = 0.2
"""Seconds that encoders pad at most."""


def ingest(data: bytes) -> TrackFacts:
    written: list[int] = []
    track = Track(1, "Rock", "training")
    facts = extract(
        track, io.BytesIO(data), (0, ()), CONFIG, lambda _, record: written.append(record.window), restart=written.clear
    )
    assert written == list(range(facts.windows))
    return facts


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_every_second_of_an_odd_file_is_ingested(recipe: Recipe):
    facts = ingest(recipe.make())
    assert facts.seconds == pytest.approx(recipe.seconds, abs=PADDING)
    assert facts.decoder == recipe.decoder or not recipe.decoder
    assert {flag for flag, present in facts.flags.items() if present} - {"ffmpeg", "zeroed"} == set(recipe.flags)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg to compare with")
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_no_odd_file_has_less_than_ffmpeg_plays(recipe: Recipe):
    data = recipe.make()
    command = ["ffmpeg", "-v", "quiet", "-i", "-", "-map", "0:a:0", "-f", "s16le", "-ac", "1", "-ar", "8000", "-"]
    played = len(subprocess.run(command, input=data, capture_output=True, check=False).stdout) / 16_000
    assert ingest(data).seconds >= played - PADDING


def decode(data: bytes, way: Way) -> tuple[np.ndarray, AudioFacts]:
    facts = AudioFacts()
    return np.concatenate(list(read_mono(io.BytesIO(data), facts, way))), facts


LOSSLESS = ("wav that says 0 bytes", "alac in m4a", "alac in caf", "flac in matroska")


@pytest.mark.parametrize("name", LOSSLESS)
def test_ffmpeg_gives_the_samples_of_the_music(name):
    samples, facts = decode(RECIPES[name].make(), Way())
    assert facts.decoder == "ffmpeg"
    np.testing.assert_allclose(samples, music()[: len(samples), 0], atol=1.01 / 32768)


def test_a_wav_gives_the_same_sound_by_either_decoder():
    assert ingest(RECIPES["wav that says 0 bytes"].make()).audio_sha256 == ingest(by_sndfile("WAV")).audio_sha256


def loudest_hz(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def test_a_rate_that_changes_inside_a_file_is_resampled_to_the_first_one():
    data = by_sndfile("OGG", rate=48_000) + OGG(22_050)
    samples, facts = decode(data, Way())
    assert facts.sample_rate == 48_000
    for half in (samples[: len(samples) // 2], samples[len(samples) // 2 :]):
        assert loudest_hz(half, 48_000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("right", "louder"), [(-0.9, 0), (-1.1, 1)])
def test_the_louder_one_of_two_channels_that_cancel_each_other_is_decoded(right, louder):
    data = antiphase("WAV", right)
    with pytest.raises(StartOverError) as again:
        decode(data, Way())
    assert again.value.way == Way(channel=louder)
    samples, facts = decode(data, again.value.way)
    np.testing.assert_allclose(samples, music()[:, 0] * (1, right)[louder], atol=1e-4)
    assert facts.antiphase
    assert not facts.silent


def test_silence_is_no_antiphase():
    facts = ingest(encoded(np.zeros((66_150, 2), np.float32), 22_050, "WAV").getvalue())
    assert [flag for flag, present in facts.flags.items() if present] == ["silent"]


MOVIE = by_ffmpeg("aac", "mp4")
FAILURES = {
    "m4a without its index": (cut(MOVIE), "truncated_audio", "get the whole file"),
    "wav, two thirds there": (cut(by_sndfile("WAV")), "truncated_audio", "ffmpeg -i IN OUT.flac"),
    "playlist": (b"#EXTM3U\n#EXTINF:3,\nfile:///SONG\n", "corrupt_audio", "ffmpeg -i IN OUT.flac"),
    "hls": (b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nSONG\n#EXT-X-ENDLIST\n", "corrupt_audio", "get it again"),
    "concat": (b"ffconcat version 1.0\nfile 'SONG'\n", "corrupt_audio", "ffmpeg -i IN OUT.flac"),
    "picture": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='SONG'/></svg>", "corrupt_audio", "get it again"),
}


@pytest.mark.parametrize(("data", "reason", "remedy"), FAILURES.values(), ids=FAILURES.keys())
def test_what_is_not_ingested_fails_with_a_remedy_and_names_of_other_files_are_not_followed(
    tmp_path, data, reason, remedy
):
    (tmp_path / "song.mp3").write_bytes(RECIPES["mp3"].make())
    with pytest.raises(TrackError, match=remedy) as error:
        ingest(data.replace(b"SONG", str(tmp_path / "song.mp3").encode()))
    assert error.value.reason == reason


def test_memory_does_not_grow_with_the_length_of_a_file_that_ffmpeg_decodes(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.audio.decode.BLOCK_VALUES", 1 << 16)
    minute = encoded(music(60, 8000, 1), 8000, "WAV").getvalue()
    peaks = []
    for minutes in (2, 6):
        path = tmp_path / f"{minutes}.wav"
        path.write_bytes(minutes * minute)
        tracemalloc.start()
        with path.open("rb") as file:
            facts = AudioFacts()
            for _ in read_mono(file, facts):
                continue
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert facts.seconds == pytest.approx(60 * minutes, abs=0.1)
        assert facts.decoder == "ffmpeg"
    assert peaks[1] < 1.2 * peaks[0]


def test_a_shard_holds_each_window_once_where_a_decoder_gave_up_on_the_way(tmp_path):
    long = by_sndfile("FLAC", samples=music(30.0, hz=700))  # long enough that records have left the process by then
    files = {"two.flac": 2 * long, "anti.flac": antiphase("FLAC"), "song.m4a": MOVIE, "gone.m4a": cut(MOVIE)}
    tracks = []
    for track_id, (name, data) in enumerate(files.items()):
        (tmp_path / name).write_bytes(data)
        tracks.append(Track(track_id, "Rock", "training", str(tmp_path / name), size=len(data)))
    builder = ShardBuilder(str(tmp_path / "out"), "0001-test", Vocabulary(("Rock",), ("Rock",)), CONFIG)
    result = builder.build(ShardPlan("training", 0, 1, tuple(tracks)))
    builder.close()
    assert (result.error, result.failures) == ("", {"truncated_audio": 1})
    assert (result.antiphase, result.ffmpeg, result.truncated, result.silent) == (1, 2, 0, 0)
    by_kind = {file.kind: file for file in result.files}
    lines = [json.loads(line) for line in (tmp_path / "out" / by_kind["tracks"].path).read_text().splitlines()]
    assert [line["decoder"] for line in lines] == ["ffmpeg", "sndfile", "ffmpeg"]
    assert [line["declared_seconds"] for line in lines] == pytest.approx([30.0, 3.0, 3.0], abs=0.03)
    assert lines[0]["seconds"] == 60.0
    assert by_kind["raw"].records == sum(line["windows"] for line in lines)
