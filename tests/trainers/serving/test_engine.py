"""Predictions of songs are those of evaluation for their records."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from tests.conftest import tone
from tests.trainers.serving.conftest import KINDS
from tests.trainers.serving.songs import SETTINGS
from trainers.evaluation.calibration import Calibration, calibrate, fit_temperature
from trainers.evaluation.metrics import log_softmax
from trainers.runs.predictions import read_run_predictions
from trainers.serving.engine import Batcher, Decoder, Engine
from trainers.serving.partial_answer import COLUMNS, WINDOWS, Spectrogram
from trainers.serving.scorers import open_scorer
from transforms.audio.decoder_process import Limits
from transforms.errors import TrackError


@pytest.mark.parametrize("model", [*KINDS, "baselines"])
def test_predictions_are_those_that_evaluation_computed_from_the_shards(model, music, run_of, engine_of):
    engine = engine_of(model, calibrated=False)
    stored = read_run_predictions(str(run_of(model)), "test")[engine.scorer.name]
    paths = {track.track_id: track.path for track in music.of("test")}
    found = np.log([engine.predict(paths[track_id]).probabilities for track_id in stored.track_id.tolist()])
    # The stand-in for YAMNet has features of about 1e-4, which its head divides by their deviation: rounding that
    # depends on the batch's size and the CPU, 1e-8 there, is 1e-4 in the end.
    within = 1e-3 if model == "yamnet" else 1e-5
    np.testing.assert_allclose(found, stored.log_probabilities, atol=within)
    assert np.ptp(found, axis=0).max() > 0.01  # songs differ, so a mix-up would show


def test_the_windows_of_a_long_song_go_through_the_model_in_parts(engine_of, tmp_path):
    engine, rate = engine_of("mel_cnn"), 22_050
    long, short = tone(32, rate, hz=300), tone(16, rate, hz=300)
    for name, samples in (("long", long), ("short", short)):
        soundfile.write(tmp_path / f"{name}.wav", samples, rate)
    answer, half = engine.predict(str(tmp_path / "long.wav")), engine.predict(str(tmp_path / "short.wav"))
    assert len(answer.windows) == 43 > WINDOWS
    np.testing.assert_allclose(answer.windows[: len(half.windows) - 1], half.windows[:-1], atol=1e-6)
    np.testing.assert_allclose(answer.windows.sum(axis=1), 1)


def test_songs_that_are_predicted_at_once_do_not_mix(engine_of, music):
    engine = engine_of("mel_cnn")
    paths = [track.path for track in music.tracks] * 2
    alone = [engine.predict(path).probabilities for path in paths[: len(paths) // 2]]
    with ThreadPoolExecutor(4) as pool:
        together = [answer.probabilities for answer in pool.map(engine.predict, paths)]
    np.testing.assert_allclose(together, alone * 2, atol=1e-6)


def test_a_decoder_that_is_killed_costs_no_song(engine_of, music):
    engine = engine_of("mel_cnn")
    path = music.tracks[0].path
    before = engine.predict(path)
    (decoder,) = engine._decoders
    os.kill(decoder._process._process.pid, signal.SIGKILL)
    np.testing.assert_array_equal(engine.predict(path).probabilities, before.probabilities)


def test_what_a_decoder_said_before_it_was_killed_does_not_count(engine_of, tmp_path):
    soundfile.write(tmp_path / "song.wav", tone(60, 22_050), 22_050)  # more than fits between the processes
    engine = engine_of("waveform_cnn")
    before = engine.predict(str(tmp_path / "song.wav"))
    (decoder,), (batcher,), left = engine._decoders, engine._batchers.values(), [1]
    forward = batcher._forward

    def killing(values):
        if left:
            left.pop()
            os.kill(decoder._process._process.pid, signal.SIGKILL)
        return forward(values)

    batcher._forward = killing
    after = engine.predict(str(tmp_path / "song.wav"))
    assert not left
    np.testing.assert_allclose(after.windows, before.windows, atol=1e-6)


def test_the_time_limit_holds_where_the_model_is_slower_than_the_decoder(tmp_path):
    soundfile.write(tmp_path / "song.wav", tone(120, 22_050), 22_050)
    decoder = Decoder(SETTINGS, ("raw",), Limits(2.0))
    began = time.monotonic()
    try:
        with pytest.raises(TrackError, match=r"not done within 2 s: .* 4 allows more"):
            decoder.decode(str(tmp_path / "song.wav"), lambda: lambda kind, payload: time.sleep(0.1))
    finally:
        decoder.close()
    assert time.monotonic() - began < 10


def test_an_engine_that_is_closed_predicts_no_more(run_of, music):
    engine = Engine(open_scorer(str(run_of("baselines"))), Limits(), 1)
    engine.predict(music.tracks[0].path)
    engine.close()
    with pytest.raises(TrackError, match="closed"):
        engine.predict(music.tracks[0].path)


def test_a_batch_gives_each_request_its_own_rows():
    sizes: list[int] = []
    gate = threading.Event()

    def forward(values):
        gate.wait(5)
        sizes.append(len(values))
        return values * 2, values[:, None] + np.arange(3)

    batcher = Batcher(forward, largest=8)
    requests = [np.arange(i, i + 3) for i in range(0, 60, 10)]
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(batcher, request) for request in requests]
        gate.set()
        for request, future in zip(requests, futures, strict=True):
            doubled, table = future.result(timeout=10)
            np.testing.assert_array_equal(doubled, request * 2)
            np.testing.assert_array_equal(table, request[:, None] + np.arange(3))
    assert sum(sizes) == 18
    assert max(sizes) <= 8


def test_a_model_that_fails_fails_for_everybody_who_waits_and_then_goes_on():
    fails = [True]

    def forward(values):
        if fails.pop() if fails else False:
            raise ValueError("no memory, say")
        return (values,)

    batcher = Batcher(forward, 8)
    with pytest.raises(ValueError, match="no memory"):
        batcher(np.arange(3))
    assert batcher(np.arange(3))[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("frames", "hop"), [(32, 32), (32, 16), (32, 48)])
def test_a_picture_is_of_bounded_size_and_covers_the_song(frames, hop):
    song = np.arange(50_000, dtype=np.float64) / 50_000 * 255
    picture = Spectrogram(hop)
    pushed = 0
    for start in range(0, len(song) - frames, hop):
        picture.push(np.broadcast_to(np.rint(song[start : start + frames]).astype(np.uint8), (224, frames)))
        pushed += 1
    image = picture.picture()
    assert image.shape[0] == 112
    assert COLUMNS <= image.shape[1] < 2 * COLUMNS
    assert picture.frames <= pushed * hop < picture.frames + 2 * picture.frames / image.shape[1]
    if hop <= frames:
        expected = np.arange(image.shape[1]) / image.shape[1] * 255
        assert np.abs(image[0] - expected).max() < 2


def test_a_short_song_keeps_all_of_its_frames():
    picture = Spectrogram(32)
    image = np.arange(32 * 32, dtype=np.uint32).reshape(32, 32) % 256
    picture.push(image.astype(np.uint8))
    np.testing.assert_array_equal(picture.picture(), image)
    assert Spectrogram(32).picture().shape == (0, 0)


def test_an_overconfident_model_is_cooled_and_a_shy_one_heated():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in np.exp(log_softmax(logits))])
    for factor in (0.1, 1.0, 5.0):
        assert fit_temperature(log_softmax(logits * factor), labels) == pytest.approx(factor, rel=0.1)


def test_a_few_tracks_that_are_all_right_do_not_make_a_model_certain():
    labels = np.arange(8) % 2
    sure = log_softmax(np.eye(2)[labels])
    top = Calibration(fit_temperature(sure, labels), fitted=True).apply(sure).max(axis=1)
    assert ((top > 0.9) & (top < 0.99)).all()


def test_the_temperature_is_fitted_on_the_stored_validation_predictions(run_of, tmp_path):
    run = run_of("mel_cnn")
    stored = read_run_predictions(str(run), "validation")["mel_cnn"]
    found = calibrate(str(run), "mel_cnn")
    assert found == Calibration(fit_temperature(stored.log_probabilities, stored.label), fitted=True)
    assert calibrate(str(tmp_path), "mel_cnn") == Calibration(1.0, fitted=False)
