import copy
import dataclasses
import json

import pytest

from transforms.config import DatasetConfig
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import Generation, ShardFile, ShardResult
from transforms.dataset.manifest import Manifest, TransformFn, commit, load
from transforms.errors import FmaError, UsageError


def shard_result(name: str, tracks: int, digest: int, genre: str = "Rock") -> ShardResult:
    split, none = name.partition("-")[0], f"{0:064x}"
    return ShardResult(
        name,
        [
            ShardFile(f"mel/g/{name}.tfrecord", "mel", split, 5 * tracks, tracks, 1000, none, f"{digest:064x}"),
            ShardFile(f"tracks/g/{name}.jsonl", "tracks", split, tracks, tracks, 10, none, none),
            ShardFile(f"failures/g/{name}.jsonl", "failures", split, 1, 1, 10, none, none),
        ],
        {genre: tracks},
        {"too_short": 1},
        silent=1,
        zeroed=tracks // 4,
        truncated=tracks // 2,
        ffmpeg=tracks,
    )


def manifest_of(*results: ShardResult) -> Manifest:
    generation = Generation.from_results("0001-g", "small", {"runner": "test"}, {"no_genre": 3}, list(results))
    return Manifest(DatasetConfig(features=("mel",)), ["Folk", "Rock"], [generation])


RESULTS = (shard_result("training-00000-of-00002", 4, 11), shard_result("test-00000-of-00001", 2, 7, "Folk"))


def test_totals_count_tracks_records_failures_and_skipped():
    totals = manifest_of(*RESULTS).totals
    assert totals == {
        "tracks": 6,
        "records": {"mel": 30},
        "embeddings": {},
        "bytes": {"mel": 2000},
        "by_split": {"training": 4, "validation": 0, "test": 2},
        "labelled": {"top": 6, "genres": 0, "none": 0},
        "by_genre": {"Folk": 2, "Rock": 4},
        "failures": {"too_short": 2},
        "skipped": {"no_genre": 3},
        "silent": 2,
        "zeroed": 1,
        "truncated": 3,
        "antiphase": 0,
        "ffmpeg": 6,
    }


def test_results_in_any_order_make_the_same_generation():
    assert manifest_of(*RESULTS) == manifest_of(*RESULTS[::-1])


def test_the_digest_is_the_sum_of_records_whatever_the_shards_and_depends_on_the_settings():
    merged = shard_result("training-00000-of-00001", 6, 18)
    assert manifest_of(*RESULTS).digest == manifest_of(merged).digest
    other = manifest_of(*RESULTS)
    other.config = DatasetConfig(features=("mel",), n_mels=64)
    assert other.digest != manifest_of(merged).digest


def test_a_manifest_comes_back_as_it_was_committed(tmp_path):
    manifest = manifest_of(*RESULTS)
    manifest.transform_fn = TransformFn("transform_fn/a", ["mel"], "0" * 64, 2)
    commit(str(tmp_path), manifest)
    assert load(str(tmp_path)) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


def in_version_1(values: dict) -> str:
    """As 0.1.0 wrote it: without a checksum."""
    return json.dumps({key: value for key, value in values.items() if key != "checksum"} | {"format_version": 1})


def test_a_manifest_of_version_1_is_read_and_the_next_commit_has_a_checksum(tmp_path):
    manifest, folder = manifest_of(*RESULTS), str(tmp_path)
    (tmp_path / "dataset.json").write_text(in_version_1(manifest.to_json()))
    assert load(folder) == manifest
    commit(folder, load(folder))
    values = json.loads((tmp_path / "dataset.json").read_text())
    assert (values["format_version"], values["digest"]) == (4, manifest.digest)
    assert values.pop("checksum") == manifests.checksum(values)


def test_shards_are_found_by_kind_and_split():
    manifest = manifest_of(*RESULTS)
    assert [shard.path for shard in manifest.shards("mel", "test")] == ["mel/g/test-00000-of-00001.tfrecord"]
    assert len(manifest.shards("mel")) == 2
    assert manifest.shards("raw") == []


def test_a_folder_without_a_manifest_is_not_a_dataset(tmp_path):
    with pytest.raises(UsageError, match=r"has no dataset\.json \(make one with fma ingest\)"):
        load(str(tmp_path))


def damaged(tmp_path, change) -> FmaError:
    commit(str(tmp_path), manifest_of(*RESULTS))
    path = tmp_path / "dataset.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(FmaError) as error:
        load(str(tmp_path))
    assert len(str(error.value).splitlines()) == 1
    return error.value


def test_a_manifest_cut_short_is_named(tmp_path):
    assert "dataset.json is damaged" in str(damaged(tmp_path, lambda text: text[: len(text) // 2]))


def test_a_manifest_of_a_newer_version_is_refused(tmp_path):
    def newer(text: str) -> str:
        return json.dumps(json.loads(text) | {"format_version": manifests.FORMAT_VERSION + 1})

    assert "update fma-genres" in str(damaged(tmp_path, newer))


@pytest.mark.parametrize("version", ["1", None])
def test_a_format_version_that_is_no_number_is_damage(tmp_path, version):
    changed = damaged(tmp_path, lambda text: json.dumps(json.loads(text) | {"format_version": version}))
    assert f"dataset.json is damaged: TypeError its format_version is {version!r}" in str(changed)


EDITS = {
    "a split that there is not": (("generations", 0, "shards", 0, "split"), "tr!ining"),
    "another split": (("generations", 0, "shards", 1, "split"), "test"),
    "a kind that there is not": (("generations", 0, "shards", 0, "kind"), "chroma"),
    "a ledger among the shards": (("generations", 0, "shards", 0), RESULTS[0].files[1]),
    "a path outside": (("generations", 0, "shards", 0, "path"), "../outside/test-00000-of-00001.tfrecord"),
    "an absolute path": (("generations", 0, "shards", 0, "path"), "/mel/g/test-00000-of-00001.tfrecord"),
    "an address": (("generations", 0, "shards", 0, "path"), "gs://mel/g/test-00000-of-00001.tfrecord"),
    "a way up and down": (("generations", 0, "shards", 0, "path"), "mel/g/../g/test-00000-of-00001.tfrecord"),
    "a path that is a number": (("generations", 0, "shards", 0, "path"), 5),
    "a file twice": (("generations", 0, "shards", 1), RESULTS[1].files[0]),
    "a digest that is no number": (("generations", 0, "shards", 0, "digest"), "g" * 64),
    "a digest too short": (("generations", 0, "shards", 0, "digest"), "7"),
    "a checksum too short": (("generations", 0, "ledgers", 0, "sha256"), "00"),
    "fewer than none": (("generations", 0, "shards", 0, "bytes"), -1),
    "half a record": (("generations", 0, "shards", 0, "records"), 10.5),
    "yes for a count": (("generations", 0, "silent"), True),
    "fewer tracks in a shard": (("generations", 0, "shards", 0, "tracks"), 1),
    "more failures than lines": (("generations", 0, "failures", "too_short"), 3),
    "more silence than tracks": (("generations", 0, "silent"), 7),
    "a genre's count": (("generations", 0, "genres", "Folk"), 3),
    "a genre without a label": (("labels", 0), "Jazz"),
    "a label twice": (("labels", 0), "Rock"),
    "a label without a name": (("labels", 0), ""),
    "a label that is no text": (("labels", 0), 7),
    "labels in one text": (("labels",), "Folk, Rock"),
    "totals that are not the sums": (("totals", "tracks"), 7),
    "a setting of another type": (("config", "n_mels"), "224"),
    "a setting out of range": (("config", "hop_length"), 0),
    "a setting that there is not": (("config", "colour"), 1),
    "a kind twice": (("config", "features"), ["mel", "mel"]),
    "another digest of the settings": (("config_digest",), "0" * 16),
    "a shard less": (("generations", 0, "shards"), []),
    "shards that are no list": (("generations", 0, "shards"), 5),
    "genres that are no counts": (("generations", 0, "genres"), ["Rock"]),
    "statistics outside": (("transform_fn",), {"path": "transform_fn/../../mine", "kinds": ["mel"]}),
    "a generation named as a path": (("generations", 0, "name"), "../g"),
}
"""What may not stand in a dataset.json: where, and the value."""


@pytest.mark.parametrize("edit", EDITS)
def test_values_that_ingestion_cannot_have_written_are_damage_with_and_without_a_checksum(tmp_path, edit):
    (*way, last), value = EDITS[edit]
    values = copy.deepcopy(manifest_of(*RESULTS).to_json())
    part = values
    for key in way:
        part = part[key]
    part[last] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    assert "its checksum is not that of its content" in str(damaged(tmp_path, lambda _: json.dumps(values)))
    assert "dataset.json is damaged: " in str(damaged(tmp_path, lambda _: in_version_1(values)))


def test_every_flipped_bit_of_a_manifest_is_noticed_or_changes_nothing_that_is_read(tmp_path):
    manifest = manifest_of(*RESULTS)
    commit(str(tmp_path), manifest)
    path = tmp_path / "dataset.json"
    data = path.read_bytes()
    for bit in range(5, 8 * len(data), 23):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            assert load(str(tmp_path)) == manifest, f"bit {bit}"
        except FmaError as error:
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"format_version": 0}', "[" * 100_000, '{"format_version": 2}'])
def test_json_that_is_no_manifest_is_damaged(tmp_path, text):
    assert "dataset.json is damaged" in str(damaged(tmp_path, lambda _: text))
