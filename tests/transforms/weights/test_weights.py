"""`fma weights` against a real HTTP server: fetched, resumed, refused, taken from a file, kept once."""

import hashlib
import importlib.util
import json
import shutil
import zipfile
from dataclasses import replace

import pytest

import fma
from tests.transforms.catalog.archive_server import BODY, OTHER, QUICK, content, names
from transforms.errors import FmaError
from transforms.weights.cache import cached, get_weights
from transforms.weights.table import WEIGHTS, find_weights


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The folder of weights, empty."""
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def weights(server, folder, monkeypatch):
    """YAMNet's row of the table, as if the server's file were what was published."""
    row = replace(
        WEIGHTS["yamnet"],
        url=f"{server.url}/yamnet.h5",
        size=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(),
    )
    monkeypatch.setitem(WEIGHTS, "yamnet", row)
    return row


def error_of(capsys, *words):
    """The last line of a command that fails."""
    assert fma.main(words)
    return capsys.readouterr().err.splitlines()[-1]


def test_weights_are_fetched_once_and_their_licence_is_shown_before(server, weights, folder, capsys):
    assert fma.main(["weights", "yamnet"]) == 0
    printed = capsys.readouterr()
    first = printed.err.splitlines()[0]
    assert first == f"fetching yamnet (293 KiB, licence Apache-2.0) from {server.url}/yamnet.h5"
    assert printed.out.startswith(f"{folder}/yamnet.h5: YAMNet")
    assert content(folder / "yamnet.h5") == BODY
    assert names(folder) == ["yamnet.h5"]
    assert get_weights(weights) == str(folder / "yamnet.h5")
    assert server.asked == [0]


def test_a_download_that_breaks_off_is_resumed_by_the_next_run(server, weights, folder):
    server.cuts = [65_536, 0, 0, 0]
    with pytest.raises(FmaError, match=r"run again to go on from 64\.0 KiB\. Or .*: fma weights yamnet --from FILE"):
        get_weights(weights, QUICK)
    assert names(folder) == ["yamnet.h5.part", "yamnet.h5.part.etag"]
    assert content(get_weights(weights, QUICK)) == BODY
    assert server.asked == [0, 65_536, 65_536, 65_536, 65_536]
    assert names(folder) == ["yamnet.h5"]


@pytest.mark.parametrize("body", [OTHER, BODY[:-1] + b"?"])
def test_another_file_than_was_published_is_refused_and_removed(server, weights, folder, capsys, body):
    server.body = body
    line = error_of(capsys, "weights", "yamnet")
    assert f"{server.url}/yamnet.h5 is not yamnet.h5 as it was published (300,000 bytes, SHA-256 " in line
    assert hashlib.sha256(body).hexdigest() in line
    assert names(folder) == []


def test_a_file_without_a_known_hash_is_compared_by_its_size(server, weights):
    unknown = replace(weights, sha256="")
    server.body = OTHER
    with pytest.raises(FmaError, match=r"300,000 bytes, SHA-256 unknown\) but 250,000 bytes"):
        get_weights(unknown)
    server.body = BODY
    assert content(get_weights(unknown)) == BODY


def test_a_file_is_taken_into_the_folder_where_there_is_no_network(server, weights, folder, tmp_path, capsys):
    (tmp_path / "downloaded").write_bytes(BODY)
    assert fma.main(["weights", "yamnet", "--from", str(tmp_path / "downloaded")]) == 0
    assert capsys.readouterr().out.startswith(f"{folder}/yamnet.h5: YAMNet")
    assert content(get_weights(weights)) == BODY
    assert server.asked == []


def test_a_wrong_file_is_not_taken(weights, folder, tmp_path, capsys):
    (tmp_path / "other").write_bytes(OTHER)
    line = error_of(capsys, "weights", "yamnet", "--from", str(tmp_path / "other"))
    assert "other is not yamnet.h5 as it was published" in line
    assert "no such file" in error_of(capsys, "weights", "yamnet", "--from", str(tmp_path / "absent"))
    assert "there is no such file" in error_of(capsys, "weights", "yamnet", "--from", str(tmp_path))
    assert not folder.exists()


def test_a_mirror_stands_in_for_the_published_addresses(server, weights, monkeypatch):
    monkeypatch.setenv("FMA_WEIGHTS_URL", f"{server.url}/")
    elsewhere = replace(weights, url="https://example.invalid/some/where/yamnet.h5")
    assert content(get_weights(elsewhere)) == BODY


def test_the_list_says_which_weights_are_here(weights, folder, capsys):
    assert fma.main(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("yamnet")).endswith("no")
    get_weights(weights)
    assert fma.main(["weights"]) == 0
    assert next(line for line in capsys.readouterr().out.splitlines() if line.startswith("yamnet")).endswith("yes")
    capsys.readouterr()
    assert fma.main(["weights", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["yamnet"]["path"] == str(folder / "yamnet.h5")
    assert found["yamnet"]["sample_rate"] == 16_000
    assert found["mobilenet_v2"]["path"] is None
    assert {row["license"] for row in found.values()} <= {"Apache-2.0", "ISC"}


WHEEL = "musicnn-0.1.0-py3-none-any.whl"
needs_pip = pytest.mark.skipif(not (importlib.util.find_spec("pip") or shutil.which("pip")), reason="there is no pip")


@pytest.fixture
def index(monkeypatch, tmp_path, folder):
    """A folder in which pip looks for packages, with a wheel of musicnn's name, which is what was published."""
    packages = tmp_path / "packages"
    packages.mkdir()
    with zipfile.ZipFile(packages / WHEEL, "w") as wheel:
        wheel.writestr("musicnn-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: musicnn\nVersion: 0.1.0\n")
        wheel.writestr("musicnn-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("musicnn-0.1.0.dist-info/RECORD", "")
    data = content(packages / WHEEL)
    row = replace(WEIGHTS["musicnn"], size=len(data), sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(WEIGHTS, "musicnn", row)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    return packages


@needs_pip
def test_a_wheel_is_fetched_by_pip_from_the_users_index(index, folder, capsys):
    assert fma.main(["weights", "musicnn"]) == 0
    printed = capsys.readouterr()
    assert "licence ISC) from pip download musicnn==0.1.0" in printed.err
    assert printed.out.startswith(f"{folder}/{WHEEL}: musicnn")
    assert content(folder / WHEEL) == content(index / WHEEL)


@needs_pip
def test_another_wheel_than_was_published_is_refused(index, folder, capsys, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "musicnn", replace(WEIGHTS["musicnn"], sha256="0" * 64))
    line = error_of(capsys, "weights", "musicnn")
    assert "what pip found for musicnn==0.1.0 is not" in line
    assert line.endswith("weights musicnn --from FILE")
    assert names(folder) == []


@needs_pip
def test_what_pip_says_is_passed_on_in_one_line(index, capsys):
    (index / WHEEL).unlink()
    line = error_of(capsys, "weights", "musicnn")
    assert "pip download musicnn==0.1.0 failed: ERROR: No matching distribution found" in line
    assert line.endswith("weights musicnn --from FILE")


def test_without_pip_the_file_can_still_be_given(index, folder, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    line = error_of(capsys, "weights", "musicnn")
    assert "there is no pip on this machine. Or download it elsewhere" in line
    assert fma.main(["weights", "musicnn", "--from", str(index / WHEEL)]) == 0
    assert names(folder) == [WHEEL]


@needs_pip
@pytest.mark.long
def test_pip_fetches_the_published_wheel_of_musicnn(folder):
    weights = find_weights("musicnn")
    try:
        path = get_weights(weights)
    except FmaError as error:
        assert "pip download musicnn==0.1.0 failed" in str(error)
        pytest.skip(str(error))
    assert hashlib.sha256(content(path)).hexdigest() == weights.sha256


def test_a_name_that_is_not_known_shows_those_that_are(capsys):
    assert "no weights of the name yamet (did you mean yamnet?); there are yamnet, " in error_of(
        capsys, "weights", "yamet"
    )
    assert "--from needs the NAME" in error_of(capsys, "weights", "--from", "x.h5")


def test_by_default_weights_lie_in_the_users_cache(monkeypatch):
    monkeypatch.delenv("FMA_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert cached(find_weights("yamnet")) == "/home/ada/.cache/fma-genres/weights/yamnet.h5"
