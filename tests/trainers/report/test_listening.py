"""What one hears and sees of tracks in the report: players of their middle, and pictures of their mel records."""

import base64
import io
import re
import shutil
from html import unescape

import matplotlib.image
import numpy as np
import pytest
import soundfile

import fma
from tests.conftest import tone
from tests.trainers.finished_runs import GENRES, write_run
from tests.trainers.report.test_report import EVIL, Parsed, report
from tests.trainers.synthetic import write_dataset
from trainers.report.listening import Card, Listening
from trainers.report.thumbnails import COLUMNS, ROWS, make_thumbnails
from transforms.audio.clips import RATE, SECONDS
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.tracks import Track

PITCHES = (300.0, 600.0, 1200.0)  # Hz of a song's beginning, middle and end
THIRD = 12  # seconds of each


@pytest.fixture(scope="module")
def ingested(tmp_path_factory) -> tuple[str, str, str]:
    """A dataset of three songs of 36 s, the folder of their audio, and two runs that are wrong about them."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "music").mkdir()
    parts = [tone(THIRD, 44_100, hz=hz) for hz in PITCHES]
    rows = ["track_id,path,genre,split,title,artist,license"]
    for number, genre in enumerate(GENRES, start=1):
        soundfile.write(folder / "music" / f"{number}.flac", np.concatenate(parts) * 0.5**number, 44_100)
        title = EVIL.replace('"', '""')
        rows.append(f'{number},{number}.flac,{genre},test,"{title} {number}",Somebody,CC BY 4.0')
    (folder / "songs.csv").write_text("\n".join(rows) + "\n")
    arguments = [
        "--audio",
        str(folder / "music"),
        "--metadata",
        str(folder / "songs.csv"),
        "--out",
        str(folder / "data"),
    ]
    assert fma.main(["ingest", *arguments, "--features", "mel", "--workers", "1"]) == 0
    wrong = np.log(np.eye(3)[[1, 2, 0]] * 0.7 + 0.1).astype(np.float32)
    of = {"dataset": str(folder / "data"), "digest": load(str(folder / "data")).digest, "track_id": (1, 2, 3)}
    runs = [write_run(folder / name, (name,), values={name: wrong}, **of) for name in ("cnn", "svm")]
    return str(folder / "music"), *runs


def sources(text: str, tag: str) -> list[bytes]:
    """The data inside of a page's pictures or sounds."""
    found = re.findall(rf'<{tag} src="data:[\w/]+;base64,([^"]+)"', text)
    return [base64.b64decode(unescape(one)) for one in found]


def test_each_mistake_has_a_player_of_the_middle_of_its_song(ingested, tmp_path, capsys):
    music, *runs = ingested
    text = report(tmp_path / "r.html", *runs, "--audio", music)
    assert "3 players: the page has " in capsys.readouterr().err
    clips = sources(text, "audio")
    assert len(clips) == 3, "a song that is named twice has one player"
    for clip in clips:
        samples, rate = soundfile.read(io.BytesIO(clip))
        assert rate == RATE and samples.ndim == 1
        assert len(samples) / rate == pytest.approx(SECONDS, abs=0.1)
        assert len(clip) < 65_000
        loudest = np.abs(np.fft.rfft(samples[RATE : 9 * RATE])).argmax() / 8
        assert loudest == pytest.approx(PITCHES[1], abs=1), "its middle"
    page = Parsed(text)
    assert not page.open
    assert page.text.count("CC BY 4.0") >= 3
    labels = [value for key, value in page.attributes if key == "aria-label" and "10 s from second 13 on" in value]
    assert f"{EVIL} 1, Somebody (1), 10 s from second 13 on" in labels
    assert "script" not in page.tags
    assert text.count("has its player above") == 3
    assert report(tmp_path / "again.html", *runs, "--audio", music) == text


def test_without_audio_there_are_pictures_and_no_players(ingested, tmp_path):
    _, *runs = ingested
    text = report(tmp_path / "r.html", *runs)
    assert "<audio" not in text
    assert len(sources(text, "img")) == 2 * 3
    page = Parsed(text)
    assert sum(key == "alt" and value == f"mel spectrogram of {EVIL} 1, Somebody (1)" for key, value in page.attributes)


def test_audio_that_is_elsewhere_or_another_one_is_said(ingested, tmp_path, capsys):
    music, *runs = ingested
    (tmp_path / "other").mkdir()
    for number, source in ((1, 1), (2, 1)):  # the second one is another song, the third one is missing
        shutil.copy(f"{music}/{source}.flac", tmp_path / "other" / f"{number}.flac")
    text = report(tmp_path / "r.html", *runs, "--audio", tmp_path / "other")
    assert len(sources(text, "audio")) == 1
    assert "2 tracks without a player: 2 missing_audio" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    arguments = ["report", *runs, "--out", str(tmp_path / "none.html")]
    assert fma.main([*arguments, "--audio", str(tmp_path / "empty")]) == 2
    assert "holds none of the 3 tracks" in capsys.readouterr().err
    gone = write_run(tmp_path / "gone")
    assert fma.main(["report", gone, "--out", str(tmp_path / "none.html"), "--audio", music]) == 2
    assert "--audio needs the dataset" in capsys.readouterr().err


def test_a_picture_shows_low_bands_below_and_what_is_loud_bright(tmp_path):
    data = str(tmp_path / "data")
    write_dataset(data, ("mel",), GENRES, {"training": 3, "test": 3})
    manifest = load(data)
    tracks = {track.track_id: track for track in read_tracks(data, manifest)}
    pictures = make_thumbnails(data, manifest, tracks)
    assert set(pictures) == {track_id for track_id, track in tracks.items() if track.split == "test"}
    for track_id, png in pictures.items():
        image = matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3].mean(axis=2)
        assert image.shape[0] <= ROWS and image.shape[1] <= COLUMNS
        thirds = [part.mean() for part in np.array_split(image[::-1], 3)]  # from the lowest band up
        assert int(np.argmax(thirds)) == GENRES.index(tracks[track_id].genre)


def test_names_in_cards_are_text():
    cards = [Card(1, "track-1", (EVIL,))]
    found = Parsed(Listening({1: Track(1, "Rock", "test", title=EVIL, license=EVIL)}, {1: b"png"}).cards(cards))
    assert found.text.count(EVIL) == 2
    assert set(found.tags) == {"ul", "li", "div", "img", "span", "a"}
    assert ("alt", f"mel spectrogram of {EVIL} (1)") in found.attributes
