"""Embeddings as records of a dataset: read, checked, shown, kept through updates and compaction."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.embeddings import add_embeddings, facts_of
from tests.pipelines.ingest.test_ingest import digest_of, ingest, make_music
from tests.trainers.synthetic import write_dataset
from transforms.dataset.embeddings import read_embeddings
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import checksum, commit, load
from transforms.errors import FmaError, UsageError

KIND = "embedding/yamnet"


@pytest.fixture
def dataset(tmp_path) -> str:
    write_dataset(tmp_path / "d", shards=2)
    return str(tmp_path / "d")


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """Real ingestion: eight tracks, embedded, then four more."""
    folder = tmp_path_factory.mktemp("grown")
    make_music(folder)
    lines = (folder / "tracks.csv").read_text().splitlines()
    (folder / "some.csv").write_text("\n".join(lines[:9]) + "\n")
    assert ingest(folder, metadata="some.csv") == 0
    add_embeddings(folder / "out")
    assert ingest(folder) == 0
    return folder


@pytest.fixture
def music(grown, tmp_path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(grown, tmp_path / "music", copy_function=shutil.copy2))


def test_embeddings_come_back_by_track_with_label_and_split(dataset):
    manifest = add_embeddings(dataset)
    found = read_embeddings(dataset, manifest, "yamnet")
    tracks = {track.track_id: track for track in read_tracks(dataset, manifest)}
    assert found.track_id.tolist() == sorted(tracks)
    assert [manifest.labels[label] for label in found.label] == [tracks[i].genre for i in found.track_id]
    assert found.split.tolist() == [tracks[i].split for i in found.track_id]
    assert found.mean.shape == found.deviation.shape == (20, 10)
    assert (found.track_id.dtype, found.mean.dtype) == (np.int64, np.float32)
    assert found.facts == facts_of()
    assert found.mean[found.label == 0, 0].mean() > found.mean[found.label == 1, 0].mean() + 1
    only = read_embeddings(dataset, manifest, "yamnet", ("test",))
    np.testing.assert_array_equal(only.mean, found.mean[found.split == "test"])
    assert load(dataset) == manifest


def test_embeddings_have_a_digest_of_their_own_and_the_datasets_stays(dataset, capsys):
    before = load(dataset).digest
    manifest = add_embeddings(dataset)
    other = add_embeddings(dataset, "other", seed=1)
    assert manifest.digest == other.digest == before
    assert manifest.records_digest([KIND]) != other.records_digest(["embedding/other"])
    assert fma.main(["verify", dataset, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == before


def test_a_dataset_without_embeddings_or_with_some_is_refused_with_the_command_that_makes_them(music):
    dataset = str(music / "out")
    with pytest.raises(
        UsageError, match=rf"{dataset} has 4 tracks without embeddings by yamnet: run .*embed {dataset}"
    ):
        read_embeddings(dataset, load(dataset), "yamnet")
    with pytest.raises(UsageError, match=r"no embeddings by other \(it has yamnet\): run .* --encoder other$"):
        read_embeddings(dataset, load(dataset), "other")


def test_show_and_verify_say_what_is_embedded_and_what_is_not(music, capsys):
    assert fma.main(["verify", str(music / "out")]) == 0
    assert ", 8 embedding/yamnet records" in capsys.readouterr().out
    assert fma.main(["show", str(music / "out")]) == 0
    shown = capsys.readouterr().out
    assert "without embeddings by yamnet: 4 tracks" in shown
    assert "embedding 6, logits 4" in shown
    assert fma.main(["show", str(music / "out"), "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["embeddings"]
    assert facts.pop("digest") == load(str(music / "out")).records_digest([KIND])
    assert facts == facts_of().to_json()


def test_an_update_takes_the_embeddings_of_its_tracks_out_and_the_others_stay(music):
    shutil.copy(music / "3.mp3", music / "8.mp3")
    lines = (music / "tracks.csv").read_text().splitlines()
    lines[1] = lines[1].replace("0.wav", "8.mp3")
    (music / "tracks.csv").write_text("\n".join([*lines[:4], *lines[5:]]) + "\n")
    assert ingest(music, "out", "--update") == 0
    dataset = str(music / "out")
    manifest = add_embeddings(dataset)
    found = read_embeddings(dataset, manifest, "yamnet")
    assert found.track_id.tolist() == [i for i in range(12) if i != 3]
    assert fma.main(["verify", dataset]) == 0


def test_compaction_keeps_embeddings_and_refuses_where_some_are_missing(music, capsys):
    dataset = str(music / "out")
    assert fma.main(["compact", dataset]) == 2
    assert "4 tracks without embeddings by yamnet" in capsys.readouterr().err
    before = add_embeddings(dataset)
    assert fma.main(["compact", dataset, "--remove-old"]) == 0
    after = load(dataset)
    assert len(after.generations) == 1
    assert after.records_digest([KIND]) == before.records_digest([KIND])
    assert fma.main(["verify", dataset]) == 0
    first, second = (read_embeddings(dataset, one, "yamnet") for one in (after, load(dataset)))
    np.testing.assert_array_equal(first.mean, second.mean)


def test_growth_has_the_digest_of_a_dataset_made_at_once(music):
    grown = add_embeddings(music / "out")
    assert ingest(music, "fresh") == 0
    fresh = add_embeddings(music / "fresh")
    assert fresh.digest == grown.digest
    assert fresh.records_digest([KIND]) == grown.records_digest([KIND])
    assert (len(fresh.generations), len(grown.generations)) == (1, 2)


def test_a_damaged_record_is_found(dataset, capsys):
    manifest = add_embeddings(dataset)
    path = Path(dataset) / manifest.shards(KIND)[0].path
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    assert fma.main(["verify", dataset]) == 1
    assert f"{manifest.shards(KIND)[0].path}: record" in capsys.readouterr().out
    with pytest.raises(FmaError, match="checksum"):
        read_embeddings(dataset, manifest, "yamnet")


def test_facts_of_another_size_do_not_read_the_records(dataset):
    manifest = add_embeddings(dataset)
    manifest.encoders["yamnet"] = facts_of(outputs={"embedding": 7})
    with pytest.raises(FmaError, match="record 0 has a payload of 80 bytes, not 56"):
        read_embeddings(dataset, manifest, "yamnet")


def _set(key: str, value):
    return lambda values: values["encoders"][0].__setitem__(key, value)


def _tracks(values) -> None:
    shard = next(one for one in values["generations"][0]["shards"] if one["kind"] == KIND)
    shard["tracks"] -= 1


def _one_more(values) -> None:
    shard = next(one for one in values["generations"][0]["shards"] if one["kind"] == KIND)
    shard["records"] += 1


def _one_shard_less(values) -> None:
    shards = values["generations"][0]["shards"]
    shards.remove(next(one for one in shards if one["kind"] == KIND))


EDITS = {
    "a name that is none": _set("name", "Yam/../net"),
    "another name": _set("name", "other"),
    "no outputs": _set("outputs", {}),
    "half a dimension": _set("outputs", {"embedding": 0.5}),
    "a kind that there is not": _set("reads", "stats"),
    "a rate that is no number": _set("sample_rate", "16000"),
    "an encoder less": lambda values: values["encoders"].clear(),
    "an encoder twice": lambda values: values["encoders"].append(values["encoders"][0]),
    "a track less": _tracks,
    "two records of a track": _one_more,
    "a file less": _one_shard_less,
}


@pytest.mark.parametrize("edit", EDITS)
def test_facts_that_cannot_be_right_are_damage(dataset, edit):
    add_embeddings(dataset)
    path = Path(dataset) / "dataset.json"
    values = json.loads(path.read_text())
    del values["checksum"]
    EDITS[edit](values)
    path.write_text(json.dumps(values | {"checksum": checksum(values)}))
    with pytest.raises(FmaError, match=r"dataset\.json is damaged: ") as error:
        load(dataset)
    assert not isinstance(error.value, UsageError)


def test_a_dataset_of_version_3_is_read_and_gets_embeddings(dataset):
    path = Path(dataset) / "dataset.json"
    values = json.loads(path.read_text())
    del values["checksum"], values["encoders"], values["totals"]["embeddings"]
    values["format_version"] = 3
    path.write_text(json.dumps(values | {"checksum": checksum(values)}))
    manifest = load(dataset)
    assert manifest.encoders == {}
    commit(dataset, manifest)
    assert add_embeddings(dataset).lacks(KIND) == 0
    assert digest_of(Path(dataset)) == values["digest"]
