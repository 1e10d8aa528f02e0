"""`fma statistics` end to end, on real Beam and TFT; numpy over all training records is the oracle."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fma
from pipelines.statistics.update import reason_to_skip
from tests.trainers import synthetic
from tests.trainers.synthetic import write_dataset
from transforms.audio.mel import dequantize
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import Generation
from transforms.records import decode_payload, deserialize, read_records

CONSTANT_BAND, CONSTANT_COLUMN = 3, 7
EXACT = 1e-12
"""Largest difference between two analyses of the same records: their float64 sums are added up in another order."""


def constant_in_places(payload, index: int, value: float):
    def with_constant(*args) -> np.ndarray:
        values = payload(*args)
        values[index] = value
        return values

    return with_constant


@pytest.fixture(scope="module", autouse=True)
def payloads():
    """All datasets of this module have a mel band and a column of the statistics that never vary."""
    with pytest.MonkeyPatch.context() as patch:
        mel = constant_in_places(synthetic.mel_payload, CONSTANT_BAND, 50)
        stats = constant_in_places(synthetic.stats_payload, CONSTANT_COLUMN, 0.1)
        patch.setitem(synthetic.PAYLOADS, "mel", mel)
        patch.setitem(synthetic.PAYLOADS, "stats", stats)
        yield


def make(folder: Path, kinds=("mel", "raw", "stats"), tracks=None, **more) -> Path:
    write_dataset(folder, kinds, tracks=tracks, shards=2, **more)
    return folder


def analyse(dataset: Path, *more: str) -> int:
    return fma.main(["statistics", str(dataset), *more])


def records(dataset: Path, kind: str, split: str = "training") -> np.ndarray:
    manifest = manifests.load(str(dataset))
    found = []
    for shard in manifest.shards(kind, split):
        with open(dataset / shard.path, "rb") as file:
            found += [deserialize(data).payload for data in read_records(file, shard.path)]
    return np.stack([decode_payload(kind, payload, manifest.config) for payload in found])


def apply(dataset: Path, kind: str, values: np.ndarray) -> dict[str, np.ndarray]:
    import tensorflow as tf

    path = manifests.load(str(dataset)).transform_fn.path
    graph = tf.saved_model.load(str(dataset / path / kind / "transform_fn"))
    return {name: value.numpy() for name, value in graph.transform_fn({kind: tf.constant(values)}).items()}


def constants(dataset: Path) -> list[np.ndarray]:
    """The graphs' constants: means, variances and principal axes."""
    import tensorflow as tf

    path = manifests.load(str(dataset)).transform_fn.path
    graphs = [tf.saved_model.load(str(dataset / path / kind / "transform_fn")) for kind in ("mel", "stats")]
    return [value.numpy() for graph in graphs for value in graph.transform_fn.captured_inputs]


def assert_same_statistics(one: Path, other: Path) -> None:
    values = constants(one)
    assert [value.shape for value in values] == [(32,), (32,), (518, 66)]
    for value, same in zip(values, constants(other), strict=True):
        np.testing.assert_allclose(value, same, rtol=0, atol=EXACT)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory) -> Path:
    """A dataset of 12 training tracks with its statistics."""
    dataset = make(tmp_path_factory.mktemp("analysed") / "dataset")
    assert analyse(dataset) == 0
    return dataset


def test_mel_bands_are_scaled_by_their_mean_and_deviation_over_all_training_records(analysed):
    steps = records(analysed, "mel")
    decibels = dequantize(steps, -80.0, 0.5).astype(np.float64)
    mean, deviation = decibels.mean((0, 2), keepdims=True), decibels.std((0, 2), keepdims=True)
    assert deviation[0, CONSTANT_BAND, 0] == 0
    deviation[0, CONSTANT_BAND, 0] = 1
    found = apply(analysed, "mel", steps)
    assert list(found) == ["mel"]
    assert found["mel"].dtype == np.float32
    np.testing.assert_allclose(found["mel"], (decibels - mean) / deviation, rtol=0, atol=2e-6)


def test_the_statistics_are_scaled_by_column_and_a_constant_column_becomes_zero(analysed):
    values = records(analysed, "stats").astype(np.float64)
    deviation = values.std(axis=0)
    deviation[CONSTANT_COLUMN] = 1
    found = apply(analysed, "stats", records(analysed, "stats"))["stats"]
    np.testing.assert_allclose(found, (values - values.mean(axis=0)) / deviation, rtol=0, atol=2e-6)
    assert not found[:, CONSTANT_COLUMN].any()


def test_the_principal_components_are_those_of_the_z_scores_with_fixed_signs(analysed):
    found = apply(analysed, "stats", records(analysed, "stats"))
    scores = found["stats"].astype(np.float64)
    variances, axes = np.linalg.eigh(np.cov(scores.T, bias=True))
    axes = axes[:, ::-1][:, :11]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(11)])
    assert found["stats_pca"].shape == (12, 11)
    np.testing.assert_allclose(found["stats_pca"], scores @ axes, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["stats_pca"].var(axis=0), variances[::-1][:11], rtol=1e-5)


def test_the_manifest_says_what_was_analysed_and_keeps_its_digest(analysed):
    manifest = manifests.load(str(analysed))
    have = manifest.transform_fn
    assert have.kinds == ["mel", "stats"]
    assert have.records == manifest.records_digest(("mel", "stats"), "training")
    assert have.path.startswith("transform_fn/0001-")
    assert not (analysed / have.path / "raw").exists()
    assert not (analysed / "plan").exists()
    assert fma.main(["verify", str(analysed)]) == 0


@pytest.mark.long
def test_a_graph_that_was_removed_by_hand_is_made_again_and_only_training_records_are_read(analysed, tmp_path):
    dataset = tmp_path / "dataset"
    shutil.copytree(analysed, dataset, ignore=shutil.ignore_patterns("transform_fn"))
    for path in (dataset / "mel").rglob("validation-*"):
        path.unlink()
    for path in [*(dataset / "mel").rglob("test-*"), *(dataset / "stats").rglob("test-*")]:
        path.write_bytes(b"not a record file")
    assert analyse(dataset) == 0
    assert manifests.load(str(dataset)).transform_fn == manifests.load(str(analysed)).transform_fn
    assert_same_statistics(dataset, analysed)


@pytest.mark.long
def test_other_validation_and_test_records_and_another_bundling_give_the_same_statistics(analysed, tmp_path):
    dataset = make(tmp_path / "dataset", tracks={"training": 12, "validation": 9})
    assert analyse(dataset, "--direct_running_mode=multi_threading", "--direct_num_workers=3") == 0
    assert_same_statistics(dataset, analysed)


def test_a_second_run_is_up_to_date_and_starts_neither_beam_nor_tensorflow(analysed):
    script = (
        "import sys, fma; code = fma.main(sys.argv[1:]); "
        "sys.exit(3 if 'apache_beam' in sys.modules or 'tensorflow' in sys.modules else code)"
    )
    before = (analysed / "dataset.json").stat().st_mtime_ns
    ran = subprocess.run(
        [sys.executable, "-c", script, "statistics", str(analysed)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "are up to date: transform_fn/0001-" in ran.stdout
    assert (analysed / "dataset.json").stat().st_mtime_ns == before


def test_a_generation_without_training_records_leaves_the_statistics_reason_to_skip(analysed):
    manifest = manifests.load(str(analysed))
    manifest.generations.append(Generation("0002-0000beef", "", failures={"corrupt_audio": 1}))
    assert "are up to date" in reason_to_skip(str(analysed), manifest)


def test_another_version_of_the_graph_is_made_anew(analysed, monkeypatch):
    monkeypatch.setattr("pipelines.statistics.update.GRAPH_VERSION", 99)
    assert reason_to_skip(str(analysed), manifests.load(str(analysed))) == ""


def grow(dataset: Path, more: Path) -> None:
    """Adds the generation of another dataset under a new name."""
    manifest = manifests.load(str(dataset))
    (generation,) = manifests.load(str(more)).generations
    name = "0002-0000beef"
    for kind in (*manifest.config.features, "tracks"):
        shutil.copytree(more / kind / generation.name, dataset / kind / name)
    files = {
        what: [dataclasses.replace(file, path=file.path.replace(generation.name, name)) for file in found]
        for what, found in (("shards", generation.shards), ("ledgers", generation.ledgers))
    }
    manifest.generations.append(dataclasses.replace(generation, name=name, **files))
    manifests.commit(str(dataset), manifest)


@pytest.mark.long
def test_a_dataset_that_has_grown_is_analysed_again_and_the_old_graph_goes(analysed, tmp_path, capsys):
    dataset = tmp_path / "dataset"
    shutil.copytree(analysed, dataset)
    old = manifests.load(str(dataset)).transform_fn.path
    grow(dataset, make(tmp_path / "more", tracks={"training": 3, "test": 1}, seed=1))
    theirs = dataset / "transform_fn" / "0007-0123abcd" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("dear to somebody")
    capsys.readouterr()
    assert analyse(dataset) == 0
    assert (
        "analysed 6 mel, 3 stats records of the training split, kept the sums of 24 mel, 12 stats"
        in capsys.readouterr().out
    )
    manifest = manifests.load(str(dataset))
    new = manifest.transform_fn
    assert new.records == manifest.records_digest(("mel", "stats"), "training")
    assert new.path.startswith("transform_fn/0002-")
    assert new.path != old
    theirs.unlink()
    theirs.parent.rmdir()
    assert [path.name for path in (dataset / "transform_fn").iterdir()] == [Path(new.path).name]
    assert not (dataset / "plan").exists()
    values = np.delete(records(dataset, "stats").astype(np.float64), CONSTANT_COLUMN, axis=1)
    assert len(values) == 15
    found = np.delete(apply(dataset, "stats", records(dataset, "stats"))["stats"], CONSTANT_COLUMN, axis=1)
    np.testing.assert_allclose(found, (values - values.mean(axis=0)) / values.std(axis=0), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("kinds", "tracks", "line"),
    [
        (("mel",), {"validation": 2, "test": 2}, "has no training split, so it gets no statistics"),
        (("raw",), {"training": 2}, "holds raw only, which needs no statistics"),
    ],
)
def test_where_there_is_nothing_to_analyse_a_line_says_so_and_the_dataset_stays(tmp_path, capsys, kinds, tracks, line):
    dataset = make(tmp_path / "dataset", kinds, tracks=tracks)
    before = (dataset / "dataset.json").read_bytes()
    assert analyse(dataset) == 0
    assert line in capsys.readouterr().out
    assert (dataset / "dataset.json").read_bytes() == before


@pytest.mark.long
def test_shards_that_cannot_be_read_are_one_line_and_the_dataset_stays(tmp_path, capsys):
    dataset = make(tmp_path / "dataset", ("mel",))
    damaged, missing = sorted((dataset / "mel").rglob("training-*"))
    missing.unlink()
    data = damaged.read_bytes()
    damaged.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    before = (dataset / "dataset.json").read_bytes()
    assert analyse(dataset) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{damaged.relative_to(dataset)}: record 0 is damaged (checksum)" in error
    assert "2 shards cannot be read" in error
    assert f"run fma verify {dataset}" in error
    assert (dataset / "dataset.json").read_bytes() == before


def read_first_shard(dataset: Path, kind: str, missing: int = 0) -> list:
    """What the reader yields for a kind's first training shard, where the plan lists `missing` more records."""
    from pipelines.statistics.analyze import ReadBatches

    manifest = manifests.load(str(dataset))
    shard = manifest.shards(kind, "training")[0]
    shard.records += missing
    reader = ReadBatches(str(dataset), manifest.schema, kind)
    return list(reader.process(json.dumps(dataclasses.asdict(shard))))


def test_batches_hold_every_record_in_order(analysed):
    (batch,) = read_first_shard(analysed, "mel")
    values = np.array(batch.column(0).to_pylist(), np.uint8).reshape(-1, 32, 32)
    np.testing.assert_array_equal(values, records(analysed, "mel")[: len(values)])
    assert len(values) == manifests.load(str(analysed)).shards("mel", "training")[0].records


def test_a_shard_that_lost_whole_records_is_found(analysed):
    *_, error = read_first_shard(analysed, "mel", missing=1)
    assert "records, where dataset.json lists" in error.value


def test_values_that_are_no_numbers_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(synthetic.PAYLOADS, "stats", constant_in_places(synthetic.stats_payload, 5, np.nan))
    (error,) = read_first_shard(make(tmp_path / "dataset", ("stats",)), "stats")
    assert "has values that are not finite numbers" in error.value


def test_keras_2_is_not_left_switched_on(analysed):
    assert "tensorflow_transform" in sys.modules
    assert "TF_USE_LEGACY_KERAS" not in os.environ


@pytest.mark.parametrize("more", [["--runnr=FnApiRunner"], ["--workers", "0"]])
def test_bad_options_are_exit_code_2(analysed, more):
    try:
        code = analyse(analysed, *more)
    except SystemExit as end:
        code = end.code
    assert code == 2


def test_a_path_without_a_dataset_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert analyse(tmp_path / "nowhere") == 2
    assert "is not a dataset" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.long
def test_two_writers_do_not_mix(tmp_path, capsys):
    from transforms.dataset.growth import locked

    dataset = make(tmp_path / "dataset", ("mel",))
    with locked(str(dataset)):
        assert analyse(dataset) == 1
    assert "another" in capsys.readouterr().err
    assert manifests.load(str(dataset)).transform_fn is None


def test_statistics_runs_as_a_module_too(analysed):
    ran = subprocess.run(
        [sys.executable, "-m", "pipelines.commands.statistics", str(analysed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "up to date" in ran.stdout
