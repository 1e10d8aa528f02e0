import json

import pytest

from transforms.config import DatasetConfig
from transforms.dataset import manifest as manifests
from transforms.dataset.manifest import Generation, Manifest, ShardFile, ShardResult, TransformFn, commit, load
from transforms.errors import FmaError, UsageError


def shard_result(name: str, tracks: int, digest: int, genre: str = "Rock") -> ShardResult:
    split = name.partition("-")[0]
    return ShardResult(
        name,
        [
            ShardFile(f"mel/g/{name}.tfrecord", "mel", split, 5 * tracks, tracks, 1000, "00", f"{digest:064x}"),
            ShardFile(f"tracks/g/{name}.jsonl", "tracks", split, tracks, tracks, 10, "00", f"{0:064x}"),
        ],
        {genre: tracks},
        {"too_short": 1},
        silent=1,
        zeroed=tracks // 4,
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
        "bytes": {"mel": 2000},
        "by_split": {"training": 4, "validation": 0, "test": 2},
        "by_genre": {"Folk": 2, "Rock": 4},
        "failures": {"too_short": 2},
        "skipped": {"no_genre": 3},
        "silent": 2,
        "zeroed": 1,
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


def test_a_manifest_whose_shard_list_was_edited_is_damaged(tmp_path):
    def without_last_shard(text: str) -> str:
        values = json.loads(text)
        values["generations"][0]["shards"].pop()
        return json.dumps(values)

    assert "its digest does not match" in str(damaged(tmp_path, without_last_shard))


@pytest.mark.parametrize("text", ["[]", "{}", "null"])
def test_json_that_is_no_manifest_is_damaged(tmp_path, text):
    assert "dataset.json is damaged" in str(damaged(tmp_path, lambda _: text))
