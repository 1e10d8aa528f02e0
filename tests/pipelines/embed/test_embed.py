"""`fma embed` end to end, on real Beam, real TensorFlow and real audio files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.encoders import OUTPUTS, reference, write_encoder, write_waveform_network
from tests.pipelines.ingest.test_ingest import ingest, make_music
from tests.pipelines.ingest.test_resume import built
from tests.processes import start
from tests.trainers.encoders.fake_musicnn import write_wheel
from tests.trainers.synthetic import write_dataset
from transforms.dataset.embed import to_input
from transforms.dataset.embeddings import read_embeddings
from transforms.dataset.manifest import Manifest, load
from transforms.dataset.shard_io import read_shard
from transforms.weights.table import WEIGHTS

KIND = "embedding/tiny"
HERE = "--direct_running_mode=in_memory"
"""Without a worker process, whose import of TensorFlow takes seconds; that process has done it already."""


def embed(dataset, *more: str) -> int:
    return fma.main(["embed", str(dataset), *more])


def expected(dataset: str, manifest: Manifest) -> dict[int, np.ndarray]:
    """Means and deviations by track, by NumPy alone."""
    found = {}
    for shard in manifest.shards("raw"):
        records = (record for record, _ in read_shard(dataset, shard, manifest.schema))
        for track_id, windows in groupby(records, key=lambda record: record.track_id):
            pcm = np.stack([np.frombuffer(record.payload, "<i2") for record in windows])
            given = reference(to_input(pcm))
            parts = [given[name].reshape(-1, size) for name, size in OUTPUTS.items()]
            found[track_id] = np.concatenate([[part.mean(0), part.std(0)] for part in parts], axis=1)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Music with csvs of its first eight tracks and of all twelve; out/ ingested from the first; an encoder for it."""
    folder = tmp_path_factory.mktemp("embed")
    make_music(folder)
    lines = (folder / "tracks.csv").read_text().splitlines()
    (folder / "some.csv").write_text("\n".join(lines[:9]) + "\n")
    assert ingest(folder, metadata="some.csv") == 0
    write_encoder(folder / "tiny", load(str(folder / "out")).config)
    return folder


@pytest.fixture
def music(folder, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(folder, tmp_path / "music", copy_function=shutil.copy2))


def test_each_track_gets_the_moments_of_all_its_windows(music, capsys):
    dataset = str(music / "out")
    before = load(dataset)
    assert embed(dataset, "--encoder", str(music / "tiny"), HERE) == 0
    manifest = load(dataset)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "embedding/tiny: mean and deviation of embedding 6, logits 3; weights: CC0-1.0",
        f"digest {manifest.records_digest([KIND])}",
        "8 new, 0 kept",
    ]
    assert "embed: 8 of 8 tracks" in err
    found, want = read_embeddings(dataset, manifest, "tiny"), expected(dataset, manifest)
    assert found.track_id.tolist() == sorted(want) == list(range(8))
    for at, track_id in enumerate(found.track_id):
        np.testing.assert_allclose([found.mean[at], found.deviation[at]], want[track_id], atol=2e-5)
    assert manifest.digest == before.digest
    assert fma.main(["verify", dataset]) == 0
    assert not (music / "out" / "plan").exists()


def test_growth_reads_only_what_is_new_and_has_the_digest_of_a_dataset_made_at_once(music, capsys):
    dataset, encoder = str(music / "out"), ["--encoder", str(music / "tiny"), HERE]
    assert embed(dataset, *encoder) == 0
    assert ingest(music) == 0
    assert "without embeddings by tiny: 4 tracks" in capsys.readouterr().out
    for shard in load(dataset).generations[0].shards:
        if shard.kind == "raw":
            (music / "out" / shard.path).write_bytes(b"not read again")
    assert embed(dataset, *encoder) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 new, 8 kept"
    assert ingest(music, "fresh") == 0
    assert embed(music / "fresh", *encoder) == 0
    grown, fresh = load(dataset), load(str(music / "fresh"))
    assert (len(grown.generations), len(fresh.generations)) == (2, 1)
    assert grown.records_digest([KIND]) == fresh.records_digest([KIND])
    assert grown.digest == fresh.digest
    for one in (grown, fresh):
        assert one.lacks(KIND) == 0


def test_where_nothing_is_new_neither_beam_nor_tensorflow_is_started(music):
    dataset = music / "out"
    assert embed(dataset, "--encoder", str(music / "tiny"), HERE) == 0
    before = (dataset / "dataset.json").stat().st_mtime_ns
    script = (
        "import sys, fma; code = fma.main(sys.argv[1:]); "
        "sys.exit(3 if 'apache_beam' in sys.modules or 'tensorflow' in sys.modules else code)"
    )
    words = ["embed", str(dataset), "--encoder", str(music / "tiny")]
    ran = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "0 new, 8 kept"
    assert (dataset / "dataset.json").stat().st_mtime_ns == before


def test_another_encoder_under_the_same_name_is_refused_with_what_differs(music, capsys):
    dataset = str(music / "out")
    config = load(dataset).config
    assert embed(dataset, "--encoder", str(music / "tiny"), HERE) == 0
    other = write_encoder(music / "other", config, seed=1)
    assert embed(dataset, "--encoder", str(other)) == 2
    assert "embeddings by another tiny, whose sha256 is 0000000" in capsys.readouterr().err
    facts = json.loads((music / "tiny" / "encoder.json").read_text())
    for key, value, said in (
        ("version", 2, "version is 1, not 2"),
        ("outputs", {"logits": 3, "embedding": 6}, "outputs is embedding 6, logits 3, not logits 3, embedding 6"),
    ):
        (music / "tiny" / "encoder.json").write_text(json.dumps(facts | {key: value}))
        assert embed(dataset, "--encoder", str(music / "tiny")) == 2
        assert said in capsys.readouterr().err
    assert embed(dataset, "--encoder", str(other), "--name", "second", HERE) == 0
    assert list(load(dataset).encoders) == ["tiny", "second"]


@pytest.mark.long
def test_embeddings_of_an_earlier_version_grow_in_it_and_a_new_name_gets_the_newest(
    music, tmp_path, monkeypatch, capsys
):
    publish_wheel(tmp_path)
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(tmp_path))
    dataset, before = str(music / "out"), str(tmp_path / "before")
    words = ["--encoder-version", "1", "--data", dataset, "--out", before]
    assert fma.main(["export", "--encoder", "musicnn", *words]) == 0
    assert embed(dataset, "--encoder", before, "--name", "ears", HERE) == 0
    assert ingest(music) == 0
    capsys.readouterr()
    assert embed(dataset, "--encoder", "musicnn", "--name", "ears", HERE) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 new, 8 kept"
    assert embed(dataset, "--encoder", "musicnn", HERE) == 0
    assert {name: facts.version for name, facts in load(dataset).encoders.items()} == {"ears": 1, "musicnn": 2}


def publish_wheel(folder: Path) -> None:
    """Writes a wheel with random networks that is as long as the published one, which is how it is known."""
    wheel, _ = write_wheel(folder)
    name = "padding"
    headers = 30 + 46 + 2 * len(name)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(name, bytes(WEIGHTS["musicnn"].size - wheel.stat().st_size - headers))
    assert wheel.stat().st_size == WEIGHTS["musicnn"].size


@pytest.mark.long
def test_anybodys_network_is_embedded_at_its_rate_under_its_files_name(music, capsys):
    dataset = str(music / "out")
    write_waveform_network(music / "Level", [None, None], positions=2)
    assert embed(dataset, "--encoder", str(music / "Level"), "--encoder-rate", "16000", HERE, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["new"], said["encoder"]["name"], said["encoder"]["outputs"]) == (8, "level", {"level": 2})
    found = read_embeddings(dataset, load(dataset), "level")
    assert (found.mean[:, 0] > 0).all()
    assert embed(dataset, "--encoder", str(music / "Level"), "--encoder-rate", "8000") == 2
    assert "whose sample_rate is 16000, not 8000" in capsys.readouterr().err


def test_an_encoder_of_images_reads_the_mel_records(music):
    dataset = str(music / "out")
    write_encoder(music / "seen", load(dataset).config, "seen", reads="mel")
    assert embed(dataset, "--encoder", str(music / "seen"), HERE) == 0
    manifest = load(dataset)
    names = {shard.name for shard in manifest.shards("mel")}
    assert {shard.name for shard in manifest.shards("embedding/seen")} == names


def test_what_cannot_be_embedded_is_said_in_one_line_and_changes_nothing(music, tmp_path, capsys):
    dataset = music / "out"
    before = (dataset / "dataset.json").read_bytes()

    def fails(*words: str, code: int, said: str) -> None:
        capsys.readouterr()
        assert embed(dataset, *words) == code
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1], err
        assert (dataset / "dataset.json").read_bytes() == before

    fails(code=2, said="give either --encoder or --remove")
    fails("--encoder", "./nothing", code=2, said="./nothing: there is no such file")
    fails("--remove", "tiny", code=2, said="has no embeddings by tiny: it has none")
    write_dataset(tmp_path / "stats", ("stats",))
    capsys.readouterr()
    assert embed(tmp_path / "stats", "--encoder", str(music / "tiny")) == 2
    assert "encoder tiny reads raw windows, and" in capsys.readouterr().err
    config = load(str(dataset)).config
    write_encoder(music / "nan", config, "nan", scale=float("nan"))
    fails("--encoder", str(music / "nan"), HERE, code=1, said="not finite numbers")
    shard = load(str(dataset)).shards("raw")[0]
    data = bytearray((dataset / shard.path).read_bytes())
    data[5000] ^= 1
    (dataset / shard.path).write_bytes(data)
    fails("--encoder", str(music / "tiny"), HERE, code=1, said="is damaged (checksum): run")
    assert not list(dataset.glob(f"{KIND}/*/{shard.name}.tfrecord"))


def test_embeddings_can_be_taken_out_and_made_again(music, capsys):
    dataset = music / "out"
    assert embed(dataset, "--encoder", str(music / "tiny"), HERE) == 0
    first = load(str(dataset))
    capsys.readouterr()
    assert embed(dataset, "--remove", "tiny") == 0
    assert f"took the embeddings of 8 tracks by tiny out of {dataset}" in capsys.readouterr().out
    assert load(str(dataset)).encoders == {}
    assert all((dataset / shard.path).exists() for shard in first.shards(KIND)), "a reader may have them open"
    other = write_encoder(music / "other", first.config, seed=1)
    assert embed(dataset, "--encoder", str(other), HERE) == 0
    second = load(str(dataset))
    assert second.records_digest([KIND]) != first.records_digest([KIND])
    assert embed(dataset, "--remove", "tiny") == 0
    assert embed(dataset, "--encoder", str(music / "tiny"), HERE) == 0
    assert load(str(dataset)) == first
    assert fma.main(["verify", str(dataset)]) == 0


MODES = {
    "two processes": ["--workers", "2"],
    "threads": ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    "job server": ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_embeddings_are_the_same_bytes_whatever_the_workers(music):
    files = {}
    for mode, words in MODES.items():
        copy = Path(shutil.copytree(music / "out", music / mode.replace(" ", "-"), copy_function=shutil.copy2))
        process = start(["embed", str(copy), "--encoder", str(music / "tiny"), *words])
        _, err = process.communicate()
        assert process.returncode == 0, err
        files[mode] = {shard.path: shard.sha256 for shard in load(str(copy)).shards(KIND)}
    assert all(found == files["two processes"] for found in files.values())


@pytest.mark.long
@pytest.mark.timeout(900)
def test_after_a_kill_the_dataset_is_as_it_was_and_the_next_run_goes_on(music):
    assert ingest(music, "many", "--shards", "4") == 0
    dataset = music / "many"
    slow = write_encoder(music / "slow", load(str(dataset)).config, "slow", rounds=60)
    before = (dataset / "dataset.json").read_bytes()
    words = ["embed", str(dataset), "--encoder", str(slow)]
    process = start([*words, "--workers", "1"])
    deadline = time.monotonic() + 120
    while len(list(dataset.glob("plan/*/results/*.json"))) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stamps = built(dataset)
    total = len(load(str(dataset)).shards("raw"))
    assert 2 <= len(stamps) < total
    assert (dataset / "dataset.json").read_bytes() == before
    assert fma.main(["verify", str(dataset)]) == 0
    process = start(words)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "12 new, 0 kept"
    assert f"{len(stamps)} of {total} shards were built before" in err
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "what was made is kept"
    listed = {dataset / file.path for file in load(str(dataset)).files()}
    assert {path for path in dataset.rglob("*") if path.is_file()} - listed == {
        dataset / "dataset.json",
        dataset / ".lock",
    }
    found = load(str(dataset)).records_digest(["embedding/slow"])
    assert ingest(music, "undisturbed") == 0
    assert embed(music / "undisturbed", "--encoder", str(slow)) == 0
    assert load(str(music / "undisturbed")).records_digest(["embedding/slow"]) == found


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_an_ingest_in_between_finds_of_a_killed_job_goes_away(music):
    dataset = music / "out"
    slow = write_encoder(music / "slow", load(str(dataset)).config, "slow", rounds=60)
    process = start(["embed", str(dataset), "--encoder", str(slow), "--workers", "1"])
    while not list(dataset.glob("embedding/slow/*/*.tfrecord")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert ingest(music) == 0
    assert not (dataset / "embedding").exists()
    assert embed(dataset, "--encoder", str(slow)) == 0
    assert fma.main(["verify", str(dataset)]) == 0
