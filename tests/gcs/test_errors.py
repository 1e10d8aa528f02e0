"""What is wrong with credentials, buckets and permissions is one line that says what to do, within seconds."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fma
from tests.gcs.corpus import SETTINGS, arguments, upload
from transforms import storage
from transforms.catalog.locate import open_track
from transforms.errors import FmaError, TrackError
from transforms.storage import gcs_client
from transforms.tracks import Track

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10.0
LOG_IN = "gcloud auth application-default login"


def verify(home: Path, address: str = "gs://some-bucket/data", **variables: str) -> str:
    """The one line that `fma verify` says in a process without credentials of its own."""
    inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    begun = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "fma", "verify", address],
        env=inherited | {"HOME": str(home), "GCE_METADATA_IP": "127.0.0.1:9"} | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert time.monotonic() - begun < SECONDS
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1), ran.stderr
    return ran.stderr


def key_file(folder: Path, token_uri: str) -> str:
    """A service account's key file that is well formed, and its path."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    values = {
        "type": "service_account",
        "private_key": rsa.generate_private_key(65537, 2048).private_bytes(*pem).decode(),
        "client_email": "robot@project.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    (folder / "key.json").write_text(json.dumps(values))
    return str(folder / "key.json")


def test_without_credentials_the_line_says_how_to_get_some(tmp_path):
    line = verify(tmp_path)
    assert f"gs:// paths need credentials of Google Cloud, and there are none here: run {LOG_IN}, or set" in line


def test_a_key_file_that_is_not_there_or_is_none_is_named(tmp_path):
    line = verify(tmp_path, GOOGLE_APPLICATION_CREDENTIALS="/nowhere.json")
    assert "GOOGLE_APPLICATION_CREDENTIALS=/nowhere.json cannot be used (File /nowhere.json was not found)" in line
    (tmp_path / "key.json").write_text("not a key")
    line = verify(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert "key.json is not a valid json file" in line


def test_credentials_that_are_refused_are_not_tried_again(tmp_path, stand_in):
    token = f"{stand_in.environment['STORAGE_EMULATOR_HOST']}/token"
    line = verify(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=key_file(tmp_path, token))
    assert f"Google refuses the credentials (invalid_grant: Invalid JWT Signature): run {LOG_IN} again" in line


def test_no_network_is_said_at_once(tmp_path):
    line = verify(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=key_file(tmp_path, "http://127.0.0.1:9/token"))
    assert "Google's server for credentials cannot be reached" in line
    assert "Connection refused): check the network" in line


@pytest.mark.parametrize("what", ["audio", "metadata", "out"])
def test_a_bucket_that_does_not_exist_is_a_wrong_argument(cloud, corpus, tmp_path, capsys, what):
    command = arguments(str(corpus), str(tmp_path / "out"), "small", False)
    command[command.index(f"--{what}") + 1] = "gs://no-such-bucket/place"
    assert fma.main(command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "fma: error: there is no bucket gs://no-such-bucket: check the name, or make it: "
        "gcloud storage buckets create gs://no-such-bucket --location REGION"
    ]


@pytest.mark.parametrize("command", [["verify"], ["show"], ["statistics"], ["compact"]])
def test_a_place_without_a_dataset_is_no_dataset(cloud, folder, capsys, command):
    assert fma.main([*command, f"{folder}/nothing"]) == 2
    assert f"{folder}/nothing is not a dataset" in capsys.readouterr().err


@pytest.fixture
def locked(cloud) -> Iterator[Callable[[int, str], None]]:
    """Return a function of a status that bucket `locked` answers from now on where a permission is needed."""
    cloud.control("create", "locked")
    yield lambda status, permission: cloud.control("deny", {"locked": (status, permission)})
    cloud.control("deny", {})


@pytest.mark.parametrize("status", [403, 401])
@pytest.mark.parametrize("what", ["audio", "metadata", "out"])
def test_what_is_not_allowed_is_one_line_with_the_role_to_give(locked, corpus, capsys, what, status):
    command = arguments(str(corpus), str(corpus.parent / "nowhere"), "small", False)
    command[command.index(f"--{what}") + 1] = "gs://locked/place"
    locked(status, "storage.objects")
    assert fma.main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "gs://locked/place" in line
    if status == 403:
        assert "robot@project.iam.gserviceaccount.com does not have storage.objects." in line
        assert "roles/storage.objectUser on the bucket" in line
    else:
        assert f"Google refuses the credentials (Anonymous credentials cannot be refreshed): run {LOG_IN}" in line


def test_a_bucket_that_may_only_be_read_is_noticed_before_any_work(locked, corpus, capsys):
    locked(403, "storage.objects.create")
    assert fma.main(arguments(str(corpus), "gs://locked/out", "small", False)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not have storage.objects.create access" in line


def test_a_storage_that_stays_away_is_one_line(cloud, folder, monkeypatch):
    monkeypatch.setattr(gcs_client, "RETRY", gcs_client.RETRY.with_timeout(0.2))
    monkeypatch.setitem(gcs_client.PATIENCE, "retry", gcs_client.RETRY)
    advice = "check the network and run the command again"
    with cloud.faults(every=1, kinds=["503"]), pytest.raises(FmaError) as caught:
        storage.read_bytes(f"{folder}/file")
    assert str(caught.value) == (
        f"{folder}/file: Google Cloud Storage did not answer for 0 s (Please try again): {advice}"
    )
    with cloud.faults(every=1, kinds=["reset"]), pytest.raises(FmaError, match=rf"not answer for 0 s .*: {advice}"):
        storage.write_bytes(f"{folder}/file", b"")


def test_a_worker_that_is_refused_ends_the_command_with_one_line(locked, corpus, folder, capsys):
    upload(corpus / "audio", "gs://locked/audio")
    paths = ["--audio", "gs://locked/audio", "--metadata", str(corpus / "fma_metadata"), "--out", f"{folder}/out"]
    locked(401, "storage.objects.get")
    assert fma.main(["ingest", *paths, "--subset", "small", *SETTINGS, "--shards", "1"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("fma: error: ")
    assert "Google refuses the credentials" in line
    assert not storage.exists(f"{folder}/out/dataset.json")


def test_a_track_that_may_not_be_read_is_a_failure_of_that_track(locked, corpus):
    path = next((corpus / "audio").rglob("*.mp3"))
    storage.write_bytes("gs://locked/one.mp3", path.read_bytes())
    locked(403, "storage.objects.get")
    with pytest.raises(TrackError, match="unreadable_audio"):
        open_track(Track(1, "Folk", "training", "gs://locked/one.mp3"))


def test_tensorflow_is_refused_in_one_line_too(locked):
    import tensorflow as tf

    from trainers.data.errors import translate_read_errors

    locked(403, "storage.objects.get")
    with pytest.raises(FmaError) as caught, translate_read_errors("gs://locked/data"):
        list(tf.data.TFRecordDataset("gs://locked/data/a.tfrecord"))
    assert str(caught.value).startswith(
        "cannot read gs://locked/data/a.tfrecord (HTTP 403: robot@project.iam.gserviceaccount.com does not have "
        "storage.objects.get access to the Google Cloud Storage bucket"
    )
    assert "TensorFlow reads gs:// with the credentials of gcloud auth application-default login" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_storage_that_stays_away_from_tensorflow_is_one_line_too():
    import tensorflow as tf

    from trainers.data.errors import translate_read_errors

    said = (  # by TensorFlow 2.21 after its own tries
        "{{function_node x}} All 10 retry attempts failed. The last failure: Error executing an HTTP request: HTTP "
        'response code 503 with body \'{"error": {"code": 503, "message": "Please try again."}}\'\n\t when reading '
        "gs://bucket/data/a.tfrecord [Op:IteratorGetNext]"
    )
    with pytest.raises(FmaError) as caught, translate_read_errors("gs://bucket/data"):
        raise tf.errors.AbortedError(None, None, said)
    assert str(caught.value) == (
        "cannot read gs://bucket/data/a.tfrecord (HTTP 503: Please try again): check the network and run the command "
        "again"
    )
    with pytest.raises(tf.errors.AbortedError), translate_read_errors("data/small"):
        raise tf.errors.AbortedError(None, None, "something else")
