"""Tags of songs by musicnn, beside the genres of a run: `--tags`."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.browser import CHROMIUM, browser
from tests.conftest import tone
from tests.trainers.conftest import publish
from tests.trainers.serving.conftest import LIMITS
from tests.trainers.serving.live import Client, listening, send
from trainers.encoders import musicnn
from trainers.encoders.table import build_encoder
from trainers.serving.answers import tables
from trainers.serving.app import Service, create_app
from trainers.serving.engine import Engine
from trainers.serving.scorers import open_scorer
from trainers.serving.tagger import Tagger
from trainers.serving.uploads import UploadLimits


@pytest.fixture(scope="module", autouse=True)
def fake(fake_wheel):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield publish(*fake_wheel, monkeypatch)


@pytest.fixture(scope="module")
def tagging(fake, run_of):
    """An engine that gives a song tags."""
    scorer = open_scorer(str(run_of("mel_cnn")), device="cpu")
    tagger = Tagger("musicnn", scorer.config, "cpu")
    with closing(Engine(scorer, LIMITS, 1, spectrograms=True, tagger=tagger)) as engine:
        yield engine


def test_the_tags_of_a_song_are_the_mean_of_its_windows(tagging, tmp_path):
    config = tagging.scorer.config
    size, count = config.window_samples, 3
    sound = np.round(32768 * tone(count * size / 22_050, 22_050)) / 32768
    sound = sound[: count * size].astype("float32")
    soundfile.write(tmp_path / "song.wav", sound, 22_050, subtype="PCM_16")
    answer = tagging.predict(str(tmp_path / "song.wav"))
    encoder, _ = build_encoder("musicnn", config)
    starts = np.arange(len(answer.windows)) * config.window_hop_samples
    logits = encoder(np.stack([sound[start : start + size] for start in starts]))["tags"]
    expected = (1 / (1 + np.exp(-np.asarray(logits, np.float64)))).mean(axis=(0, 1))
    np.testing.assert_allclose(answer.tags.probabilities, expected, atol=1e-6)


def test_predict_shows_the_five_likeliest_tags(tagging, predict, music):
    path = music.of("test")[0].path
    code, out, _ = predict("mel_cnn", path, "--tags", "musicnn")
    genres, tags = out.split("\n\n")
    assert (code, "verdict" in genres, "tags by musicnn" in tags) == (0, True, True)
    likeliest = tagging.predict(path).to_json()["tags"][:5]
    assert tags.rstrip().endswith(", ".join(f"{one['tag']} {one['probability']:.2f}" for one in likeliest))


def test_programs_get_all_tags_the_likeliest_first_also_with_a_classical_model(predict, music):
    code, out, _ = predict("baselines", music.of("test")[0].path, "--tags", "musicnn_mtt", "--json")
    (found,) = json.loads(out)
    shares = [one["probability"] for one in found["tags"]]
    assert (code, shares) == (0, sorted(shares, reverse=True))
    assert {one["tag"] for one in found["tags"]} == set(musicnn.TAGS["musicnn_mtt"])


def test_silence_has_no_tags(tagging, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(3 * 22_050, "float32"), 22_050)
    answer = tagging.predict(str(tmp_path / "silence.wav"))
    assert "tags" not in answer.to_json()
    assert len(list(tables([("silence.wav", answer)]))) == 1


def test_without_the_weights_they_are_fetched_and_an_error_says_what_to_do(predict, music, tmp_path, monkeypatch):
    for name, value in (("FMA_WEIGHTS_DIR", tmp_path), ("PIP_NO_INDEX", 1), ("PIP_FIND_LINKS", tmp_path)):
        monkeypatch.setenv(name, str(value))
    code, _, err = predict("mel_cnn", music.tracks[0].path, "--tags", "musicnn")
    assert code == 1
    first, last = err.splitlines()
    assert "licence ISC) from pip download musicnn==0.1.0" in first
    assert last.endswith("fma weights musicnn --from FILE")


def test_the_server_sends_tags_and_says_whose_they_are(tagging, music):
    service = Service(tagging, None, "mel_cnn", UploadLimits(4 << 20), LIMITS, 1)
    path = music.of("test")[0].path
    with listening(create_app(service)) as port, Client(port) as client:
        assert client.get("/model").json()["tagger"] == "musicnn"
        found = send(client, path).json()
    assert len(found["tags"]) == 50
    assert found == tagging.predict(path).to_json()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_page_shows_the_five_likeliest_tags(tagging, music, tmp_path):
    service = Service(tagging, None, "mel_cnn", UploadLimits(4 << 20), LIMITS, 1)
    path = music.of("test")[0].path
    likeliest = tagging.predict(path).to_json()["tags"][:5]
    with listening(create_app(service)) as port, browser(tmp_path) as page:
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.querySelector('#model').textContent.includes('genres')")
        page.choose_files("#file", Path(path))
        page.wait_for("document.querySelectorAll('.answer[aria-busy=false]').length")
        shown = page.evaluate("[...document.querySelectorAll('.tag')].map(one => one.firstChild.textContent)")
        assert shown == [one["tag"] for one in likeliest]
        assert page.evaluate("document.querySelector('.tags').innerText").startswith("musicnn hears")
        assert page.complaints == []
