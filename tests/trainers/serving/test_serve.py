"""`fma serve`: the HTTP API, its limits, and its own description of itself."""

import base64
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import schemathesis
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

import fma
from tests.trainers.serving.bad_songs import write_bad_songs, write_ten_hours
from tests.trainers.serving.live import Client, begin_upload, connect, is_closed, listening, send, upload, wait_for
from trainers.serving import app
from trainers.serving.app import Service, create_app
from trainers.serving.connections import LOG_LINES, listen
from trainers.serving.engine import Engine
from trainers.serving.neighbours import open_neighbours
from trainers.serving.scorers import open_scorer
from trainers.serving.uploads import UploadLimits
from transforms.audio.decoder_process import Limits
from transforms.errors import FmaError, UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def client(service) -> Iterator[Client]:
    with listening(create_app(service)) as port, Client(port) as client:
        yield client


def test_the_answer_is_that_of_predict(client, service, music):
    for track in music.of("test"):
        answer = send(client, track.path)
        assert answer.status_code == 200
        assert answer.json() == service.engine.predict(track.path).to_json()


def test_programs_may_ask_for_more(client, service, music):
    path = music.of("test")[0].path
    found = send(client, path, "?timeline=true&spectrogram=1&nearest=4").json()
    answer = service.engine.predict(path)
    assert found["timeline"] == answer.timeline()
    picture = found["spectrogram"]
    image = np.frombuffer(base64.b64decode(picture["data"]), np.uint8).reshape(picture["bands"], picture["columns"])
    np.testing.assert_array_equal(image, answer.spectrogram)
    assert picture["seconds"] == pytest.approx(found["timeline"][-1]["end"], abs=0.001)
    assert len(found["nearest"]) == 4


def test_a_training_track_is_nearest_to_itself(client, music):
    for track in music.of("training"):
        first, second, *_ = send(client, track.path, "?nearest=6").json()["nearest"]
        assert first == {
            "track_id": track.track_id,
            "similarity": pytest.approx(1, abs=1e-3),
            "genre": track.genre,
            "title": track.title,
            "artist": track.artist,
            "license": "CC0",
        }
        assert first["similarity"] >= second["similarity"] >= -1


@pytest.mark.parametrize("model", ["tiny_transfer", "waveform_cnn", "yamnet", "baselines"])
def test_every_kind_of_model_has_neighbours_which_are_computed_once(model, engine_of, music, run_of):
    engine = engine_of(model, spectrograms=True)
    found, written = [], []
    for _ in range(2):
        found.append(open_neighbours(str(run_of(model)), engine.scorer, str(music.dataset)))
        (file,) = (run_of(model) / "neighbours").iterdir()
        written.append(file.stat().st_mtime_ns)
    assert written[0] == written[1]
    track = music.of("training")[2]
    answer = engine.predict(track.path)
    assert answer.spectrogram.size
    nearest = [neighbours.nearest(answer.embedding, 1) for neighbours in found]
    assert nearest[0] == nearest[1]
    assert nearest[0][0]["track_id"] == track.track_id


def test_neighbours_of_other_records_are_refused(engine_of, run_of, tmp_path):
    from tests.trainers.synthetic import CONFIG, write_dataset

    write_dataset(tmp_path, config=replace(CONFIG, n_mels=16))
    with pytest.raises(UsageError, match="n_mels is 32 in the run, and 16 in the dataset"):
        open_neighbours(str(run_of("mel_cnn")), engine_of("mel_cnn").scorer, str(tmp_path))


def test_bad_songs_are_4xx_with_their_reason(client, tmp_path):
    for name, reason in write_bad_songs(tmp_path).items():
        answer = send(client, str(tmp_path / name))
        assert answer.status_code == (422 if reason else 200), name
        assert answer.json().get("error", "") == reason
        assert reason == "" or answer.json()["message"]


def test_a_song_of_too_many_bytes_is_refused_before_and_while_it_comes(client):
    parts = itertools.repeat(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
    for headers, body in ((f"Content-Length: {(4 << 20) + 1}", ()), ("Transfer-Encoding: chunked", parts)):
        status, problem = upload(client.port, headers, body)
        assert (status, problem["error"]) == (413, "too_large")
        assert "4.0 MiB" in problem["message"]


def test_ten_hours_end_with_the_time_limit(run_of, tmp_path):
    write_ten_hours(tmp_path / "long.wav")
    engine = Engine(open_scorer(str(run_of("mel_cnn")), device="cpu"), Limits(1.0, 512), 1)
    service = Service(engine, None, "mel_cnn", UploadLimits(2 << 30), Limits(), 1)
    try:
        with listening(create_app(service)) as port, Client(port) as client, open(tmp_path / "long.wav", "rb") as file:
            answer = client.post("/predict", file)
    finally:
        engine.close()
    assert (answer.status_code, answer.json()["error"]) == (422, "timeout")


def test_forms_and_wrong_parameters_say_what_to_do(client, music):
    with open(music.tracks[0].path, "rb") as file:
        form = client.post("/predict", files={"song": file})
    assert (form.status_code, form.json()["error"]) == (415, "not_a_song")
    assert "--data-binary" in form.json()["message"]
    wrong = client.post("/predict?nearest=many", b"x")
    assert (wrong.status_code, wrong.json()["error"]) == (400, "bad_request")
    assert "nearest" in wrong.json()["message"]
    assert client.get("/nowhere").json()["error"] == "not_found"
    got = client.get("/predict")
    assert (got.status_code, got.json()["error"], got.headers["allow"]) == (405, "wrong_method", "POST")


def test_our_own_mistake_is_said_to_be_one(service, music):
    broken = replace(service, neighbours=replace(service.neighbours, vectors=None))
    with listening(create_app(broken)) as port, Client(port) as client, Client(port) as other:
        answer = send(client, music.tracks[0].path, "?nearest=1")
        assert (answer.status_code, answer.json()["error"]) == (500, "internal")
        assert send(other, music.tracks[0].path).status_code == 200


def test_prometheus_can_read_the_counters(service, music):
    with listening(create_app(service)) as port, Client(port) as client:
        send(client, music.tracks[0].path)
        client.post("/predict", b"words")
        client.get("/nowhere/at/all")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["fma_http_requests_total", "/predict", "200"] == 1
    assert samples["fma_http_requests_total", "/predict", "422"] == 1
    assert samples["fma_http_requests_total", "other", "404"] == 1
    assert samples["fma_refusals_total", "corrupt_audio"] == 1
    assert sum(value for name, value in samples.items() if name[0] == "fma_verdicts_total") == 1
    assert samples["fma_predict_seconds_count",] == 1
    assert samples["fma_music_seconds_total",] > 2


def test_the_server_says_how_it_is_and_what_it_can(client, service):
    assert client.get("/healthz").json() == {"status": "ok"}
    facts = client.get("/model").json()
    assert facts["labels"] == ["Folk", "Rock"]
    assert (facts["model"], facts["neighbours"], facts["most_bytes"]) == ("mel_cnn", 6, 4 << 20)
    assert facts["temperature"] == service.engine.scorer.task.calibration.temperature


def test_no_page_names_anything_from_elsewhere(client):
    for path in app.FILES:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        addresses = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^"'\s]*""", answer.text)
        assert {address for address in addresses if "www.w3.org/2000/svg" not in address} == set()


@pytest.mark.long
def test_the_server_keeps_to_its_own_openapi_document(client):
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{client.port}/openapi.json")
    # Bytes that are no song fit the body's schema, and are refused all the same.
    excluded = [check for check in CHECKS.get_all() if check.__name__ == "positive_data_acceptance"]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.label for operation in operations} == {
        *("POST /predict", "GET /model", "GET /healthz", "GET /metrics")
    }
    everything = list(hypothesis.HealthCheck)
    wanted = itertools.product(operations, GenerationMode)
    for operation, mode in wanted:
        if mode == GenerationMode.NEGATIVE and not operation.query:
            continue  # nothing that could be wrong about it

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=everything)
        def holds(case):
            case.call_and_validate(excluded_checks=excluded)

        holds()


def test_a_port_that_is_taken_is_one_line():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FmaError, match=f"port {port}: address already in use; give another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="ports are 0 to 65535"):
        listen("127.0.0.1", 70_000)
    with pytest.raises(UsageError, match="no such address"):
        listen("no.such.host.invalid", 0)


def test_without_the_servers_packages_the_command_says_what_to_install(monkeypatch, capsys, run_of):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert fma.main(["serve", str(run_of("baselines"))]) == 2
    assert "pip install 'fma-genres[serve]'" in capsys.readouterr().err


@contextmanager
def serving(folder: Path, *options: str, files: int = 1024, grace: int = 10) -> Iterator[tuple[subprocess.Popen, int]]:
    """`fma serve` in a process of its own that may open so many files, and its port."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
    code = f"{limit}; from trainers.serving import connections; connections.GRACE_SECONDS = {grace}"
    command = ["serve", str(folder), "--port", "0", "--concurrency", "1", *options]
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; import sys, fma; sys.exit(fma.main({command}))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            line = process.stdout.readline()
            yield process, int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
        finally:
            process.kill()


def test_the_command_serves_until_it_is_interrupted(run_of, music):
    with serving(run_of("baselines"), "--data", str(music.dataset)) as (process, port), Client(port) as client:
        found = send(client, music.tracks[0].path, "?nearest=1").json()
        assert found["in_training"] is True and len(found["nearest"]) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()


@pytest.mark.long
def test_a_server_that_may_open_few_files_stands_a_crowd_and_leaves_no_upload_behind(
    run_of, music, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(run_of("baselines"), files=256, grace=1) as (process, port), Client(port) as client, ExitStack() as on:
        crowd = [on.enter_context(connect(port, b"GET / HTTP/1.1\r\nHost: local")) for _ in range(300)]
        assert client.get("/healthz").status_code == 200
        assert send(client, music.tracks[0].path).status_code == 200
        assert sum(not is_closed(connection) for connection in crowd) >= 16
        for _ in range(50):
            assert is_closed(on.enter_context(connect(port, b"no HTTP\r\n\r\n")), 5)
        song = on.enter_context(begin_upload(port, "Content-Length: 1000"))
        wait_for(client, "fma_songs_sent 1.0")
        assert list(tmp_path.glob("fma-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert is_closed(song, 5)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        log = process.stderr.read()
        assert "Traceback" not in log
        assert log.count("Invalid HTTP request") == LOG_LINES
        assert len(log.splitlines()) < 20, log
