"""The page in a real browser: a song goes in, an answer comes out, and nothing leaves for elsewhere."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.browser import CHROMIUM, Page, browser
from tests.conftest import tone
from tests.trainers.serving import songs
from tests.trainers.serving.live import listening
from trainers.serving.app import Service, create_app
from trainers.serving.clips import open_clips
from trainers.serving.engine import Engine
from trainers.serving.neighbours import open_neighbours, read_recordings
from trainers.serving.scorers import open_scorer
from trainers.serving.uploads import UploadLimits
from transforms.audio.decoder_process import Limits

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

LABELS = ["Folk", "Rock", "<img src=x onerror=alert(1)> & Old-Time", *(f"Genre number {i}" for i in range(12))]
MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
ANSWERED = "document.querySelectorAll('.answer[aria-busy=false]').length"
OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)
"""


@pytest.fixture(scope="module")
def address(music, dataset, tiny_models, tmp_path_factory):
    """A server with a model of fifteen genres."""
    run = songs.write_run(tmp_path_factory.mktemp("many") / "tiny", "tiny", music.dataset, dataset, LABELS)
    engine = Engine(open_scorer(str(run), device="cpu", threshold=0.0), Limits(), 1, spectrograms=True)
    neighbours = open_neighbours(str(run), engine.scorer, str(music.dataset))
    clips = open_clips(str(music.dataset), str(Path(music.tracks[0].path).parent), Limits())
    known = read_recordings(str(music.dataset))
    service = Service(engine, neighbours, "tiny", UploadLimits(8 << 20), Limits(), 1, known, clips)
    with listening(create_app(service)) as port:
        yield f"http://127.0.0.1:{port}/"
    engine.close()
    clips.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    recorded = tmp_path_factory.mktemp("microphone") / "song.wav"
    soundfile.write(recorded, tone(20, 44_100, hz=300), 44_100)
    with browser(
        tmp_path_factory.mktemp("chromium"), *MICROPHONE, f"--use-file-for-fake-audio-capture={recorded}"
    ) as page:
        yield page


@pytest.fixture
def page(chromium, address) -> Page:
    chromium.open(address)
    chromium.wait_for("!document.querySelector('#model').textContent.includes('\\u00a0')")
    return chromium


def text(page: Page, selector: str) -> str:
    return page.evaluate(f"document.querySelector({selector!r}).innerText")


def count(page: Page, selector: str) -> int:
    return page.evaluate(f"document.querySelectorAll({selector!r}).length")


def check_answer(page: Page, address: str) -> None:
    """The last song has an answer with all of its parts."""
    assert text(page, ".verdict").splitlines()[0] in LABELS
    assert count(page, ".answer:first-child .genres li") == len(LABELS)
    assert count(page, ".answer:first-child .timeline path") == 6 + 1
    assert count(page, ".answer:first-child .nearest li") == 5
    pixels = page.evaluate(
        "(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])(document.querySelector('canvas'))"
    )
    assert np.ptp(np.reshape(pixels, (-1, 4))[:, 0]) > 100
    assert {url for url in page.requests if not url.startswith((address, f"blob:{address}"))} == set()


def test_a_real_song_has_an_answer_on_the_page(page, address, fma_sample):
    page.choose_files("#file", fma_sample / "audio" / "000" / "000011.mp3")
    page.wait_for(ANSWERED)
    check_answer(page, address)
    assert "0:30 long" in text(page, ".verdict")
    assert page.complaints == []


def test_what_users_wrote_is_text_on_the_page(page, address, music):
    page.choose_files("#file", Path(music.tracks[2].path), Path(music.tracks[0].path))
    page.wait_for(f"{ANSWERED} == 2")
    check_answer(page, address)
    title, artist = text(page, ".nearest .title").splitlines()
    assert re.fullmatch("Song [1-5] <b>&", title) and re.fullmatch("Artist [1-5]", artist), "not the song itself, 0"
    assert "trained on this very recording" in text(page, ".answer:first-child .known")
    assert LABELS[2] in page.evaluate("document.querySelector('.answer .found').textContent")
    assert page.complaints == []


def test_a_file_that_is_no_song_has_its_reason_on_the_page(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no music")
    (tmp_path / "large.wav").write_bytes(bytes((8 << 20) + 1))
    page.choose_files("#file", tmp_path / "notes.txt", tmp_path / "large.wav")
    page.wait_for(f"{ANSWERED} == 2")
    large, notes = page.evaluate("[...document.querySelectorAll('.answer .state')].map(e => e.innerText)")
    assert notes.startswith("This file cannot be played. It may be no song, or damaged;")
    assert large == "This file is too large. It may have up to 8 MiB; an mp3 is smaller."
    said = page.evaluate("[...document.querySelectorAll('.detail')].map(e => e.textContent)")
    assert "the file has 9 MiB" in said[0] and "not audio that libsndfile or FFmpeg reads" in said[1]


@contextmanager
def instead_of_fetch(page: Page, code: str) -> Iterator[None]:
    """Pages that are opened while the block runs ask `code` first, which may call `real`."""
    source = f"(() => {{ const real = window.fetch; let asked = 0; window.fetch = (url, ...more) => {{ {code} }}; }})()"
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    yield
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_a_page_whose_server_does_not_answer_says_so_and_tries_again_with_the_next_song(chromium, address, music):
    gone = """
        if (url === "model" && !asked++) return Promise.reject(new TypeError("Failed to fetch"));
        return real(url, ...more);
    """
    with instead_of_fetch(chromium, gone):
        chromium.open(address)
    chromium.wait_for("document.querySelector('#model').textContent == 'The server does not answer.'")
    chromium.choose_files("#file", Path(music.tracks[0].path))
    chromium.wait_for(ANSWERED)
    check_answer(chromium, address)
    assert "tells 15 genres apart" in text(chromium, "#model")


@pytest.mark.parametrize(("times", "failed"), [(1, 0), (2, 1)])
def test_a_busy_server_is_asked_once_more(chromium, address, music, times, failed):
    busy = """
        if (!String(url).startsWith("predict") || asked++ >= TIMES) return real(url, ...more);
        const problem = JSON.stringify({error: "busy", message: "too many songs at once"});
        return Promise.resolve(new Response(problem, {status: 503, headers: {"Retry-After": "1"}}));
    """
    with instead_of_fetch(chromium, busy.replace("TIMES", str(times))):
        chromium.open(address)
    chromium.choose_files("#file", Path(music.tracks[0].path))
    chromium.wait_for(ANSWERED)
    assert count(chromium, ".failed") == failed
    assert not failed or text(chromium, ".state-text") == "Too many songs at once. Try again in a moment."


def test_an_example_is_predicted_and_neighbours_can_be_heard(page, address):
    assert re.search(r"not trained on: Song \d+ <b>&, Artist \d+ \(CC0\)", text(page, "#example"))
    page.evaluate("document.querySelector('#try').click()")
    page.wait_for(ANSWERED)
    check_answer(page, address)
    assert page.evaluate("document.querySelector('.known').hidden")
    page.evaluate("document.querySelector('.nearest audio').load()")
    lasts = page.wait_for("(a => (a.preload = 'metadata', a.duration))(document.querySelector('.nearest audio'))")
    assert lasts == pytest.approx(2.5, abs=0.6), "the whole seconds of a song of about three"
    assert page.complaints == []


RECORD = """
(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({audio: true});
  const recorder = new MediaRecorder(stream), parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  const stopped = new Promise(resolve => { recorder.onstop = resolve; });
  recorder.start();
  await new Promise(resolve => setTimeout(resolve, 1500));
  recorder.stop(); await stopped; stream.getTracks().forEach(track => track.stop());
  const files = new DataTransfer();
  files.items.add(new File(parts, "song.webm"));
  document.querySelector("#file").files = files.files;
  document.querySelector("#file").dispatchEvent(new Event("change"));
})()
"""
"""Chromium records webm and drops it on the page."""


def test_what_a_browser_records_is_decoded_by_the_server(page):
    page.evaluate(RECORD)
    page.wait_for(ANSWERED)
    assert count(page, ".failed") == 0
    assert text(page, ".name") == "song.webm"
    assert text(page, ".verdict").splitlines()[0] in LABELS


def test_a_song_is_recorded_and_predicted(page, address):
    page.evaluate("document.querySelector('#record').click()")
    page.wait_for("document.querySelector('#record-note').textContent == 'stop when you like'")
    page.evaluate("document.querySelector('#record').click()")
    page.wait_for(ANSWERED)
    assert text(page, ".name").startswith("Recording of ")
    check_answer(page, address)
    assert text(page, "#record") == "Record"


@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, True), (1280, False)])
def test_the_page_fits_its_window(chromium, address, music, width, dark):
    chromium.open(address, width, 800, dark=dark)
    chromium.choose_files("#file", Path(music.tracks[1].path))
    chromium.wait_for(ANSWERED)
    assert chromium.evaluate(OVERFLOWING) == []
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width


def test_the_api_is_described_without_anything_from_elsewhere(chromium, address):
    chromium.open(f"{address}docs")
    chromium.wait_for("document.querySelector('#endpoints').getAttribute('aria-busy') == 'false'")
    assert "POST /predict" in chromium.evaluate("document.body.innerText")
    assert {url for url in chromium.requests if not url.startswith(address)} == set()
    assert chromium.complaints == []
