"""Normalisation: the arrays of `fma statistics` give what the graph beside them gives; no graph is executed.

That of mel is a layer of the models: tests/trainers/models/test_records.py.
"""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import CONFIG, write_dataset
from trainers.runs.normalization import GRAPH, find_normalization, has_normalization, load_normalization
from transforms.dataset import manifest as manifests
from transforms.dataset.manifest import Manifest
from transforms.dataset.normalization import FILE, Normalization
from transforms.dataset.tft_graph import read_graph
from transforms.errors import FmaError, UsageError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("transform") / "dataset"
    write_dataset(folder, ("mel", "raw", "stats"), shards=2)
    assert fma.main(["statistics", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(dataset, tmp_path) -> Path:
    """A dataset of the test's own."""
    shutil.copytree(dataset, tmp_path / "copied")
    return tmp_path / "copied"


def load(dataset: Path) -> Manifest:
    return manifests.load(str(dataset))


def graph_of(dataset: Path, kind: str) -> Path:
    return dataset / load(dataset).transform_fn.path / kind / "transform_fn"


def arrays_of(dataset: Path, kind: str) -> Path:
    return dataset / load(dataset).transform_fn.path / kind / FILE


def older_run(dataset: Path, run: Path) -> Path:
    """A run that carries the graph; returns the path of its saved_model.pb."""
    path = run / GRAPH
    shutil.copytree(graph_of(dataset, "mel"), path.parent)
    return path


def test_the_arrays_of_stats_are_those_of_the_graph(dataset):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    values = (rng.standard_normal((64, 518)) * 10.0 ** rng.integers(-3, 4, 518)).astype(np.float32)
    expected = tf.saved_model.load(str(graph_of(dataset, "stats"))).transform_fn({"stats": tf.constant(values)})
    found = find_normalization(str(dataset), load(dataset), "stats")
    scores = (values.astype(np.float64) - found.mean) / found.deviation
    np.testing.assert_array_equal(expected["stats"], scores.astype(np.float32))
    np.testing.assert_allclose(expected["stats_pca"], scores @ found.axes, rtol=1e-5, atol=1e-5)


def test_the_arrays_in_a_run_of_an_earlier_version_are_read(dataset, tmp_path):
    assert not has_normalization(str(tmp_path))
    shutil.copy(arrays_of(dataset, "mel"), tmp_path / FILE)
    assert has_normalization(str(tmp_path))
    found, expected = load_normalization(str(tmp_path), CONFIG), find_normalization(str(dataset), load(dataset), "mel")
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.deviation, expected.deviation)


def test_the_graph_of_an_older_run_is_read_and_not_executed(dataset, tmp_path, monkeypatch):
    import tensorflow as tf

    older_run(dataset, tmp_path)
    monkeypatch.setattr(tf.saved_model, "load", None)
    assert has_normalization(str(tmp_path))
    found, expected = load_normalization(str(tmp_path), CONFIG), find_normalization(str(dataset), load(dataset), "mel")
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.deviation, expected.deviation)


def test_a_graph_that_writes_a_file_writes_none(tmp_path):
    import tensorflow as tf

    class Evil(tf.Module):
        @tf.function(input_signature=[{"mel": tf.TensorSpec([None, 32, 32], tf.uint8)}])
        def transform_fn(self, inputs):
            tf.io.write_file(str(tmp_path / "written"), "by a stranger")
            return {"mel": tf.cast(inputs["mel"], tf.float32)}

    path = tmp_path / GRAPH
    tf.saved_model.save(Evil(), str(path.parent))
    with pytest.raises(FmaError, match=r"saved_model\.pb is damaged \(it is not a graph of fma statistics, "):
        load_normalization(str(tmp_path), CONFIG)
    assert not (tmp_path / "written").exists()


def test_a_graph_with_flipped_bits_is_one_line_or_reads_as_numbers_of_the_right_shape(dataset, tmp_path):
    """Graphs carry no checksum; that is why runs carry arrays now."""
    data = older_run(dataset, tmp_path).read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for position in rng.integers(0, len(data), 300):
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.integers(8)
        try:
            assert read_graph("mel", bytes(flipped)).mean.dtype == np.float32
        except ValueError:
            refused += 1
    assert refused > 50


def test_a_dataset_without_statistics_says_what_to_run(copied):
    manifest = load(copied)
    manifest.transform_fn = None
    manifests.commit(str(copied), manifest)
    with pytest.raises(UsageError, match=f"no statistics of kind mel: run fma statistics {copied} first"):
        find_normalization(str(copied), manifest, "mel")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"records": "of fewer records"}, "has grown since"),
        ({"arrays": {}}, "were made by an older version"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(copied, changes, message):
    manifest = load(copied)
    manifest.transform_fn = replace(manifest.transform_fn, **changes)
    with pytest.raises(UsageError, match=f"{message}.*: run fma statistics {copied} first"):
        find_normalization(str(copied), manifest, "mel")


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "of another kind"])
def test_arrays_that_are_not_those_that_were_written_are_refused_and_made_again(copied, capsys, damage):
    path = arrays_of(copied, "stats")
    data = path.read_bytes()
    changed = {
        "cut": data[:-1],
        "flipped": data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
        "of another kind": arrays_of(copied, "mel").read_bytes(),
    }
    path.unlink()
    if damage in changed:
        path.write_bytes(changed[damage])
    with pytest.raises(FmaError, match=rf"stats/normalization\.npz is .*: run fma statistics {copied}"):
        find_normalization(str(copied), load(copied), "stats")
    assert fma.main(["verify", str(copied)]) == 1
    assert "stats/normalization.npz is " in capsys.readouterr().out
    if damage == "cut":
        assert fma.main(["statistics", str(copied)]) == 0
        assert path.read_bytes() == data


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


ONES = np.ones(32, np.float32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        npz(mean=ONES),
        npz(mean=ONES, deviation=np.ones(32)),
        npz(mean=ONES, deviation=np.ones(31, np.float32)),
        npz(mean=ONES, deviation=np.ones((32, 1), np.float32)),
        npz(mean=ONES, deviation=0 * ONES),
        npz(mean=ONES, deviation=np.nan * ONES),
        npz(mean=np.inf * ONES, deviation=ONES),
        npz(mean=ONES, deviation=np.array([print] * 32, object)),
    ],
)
def test_arrays_that_cannot_normalise_are_refused(data):
    with pytest.raises(ValueError, match=r"\w"):
        Normalization.from_bytes("mel", data).check(CONFIG)
    found = Normalization.from_bytes("mel", npz(mean=ONES, deviation=ONES))
    found.check(CONFIG)
    np.testing.assert_array_equal(found.mean, ONES)


def test_a_dataset_without_training_records_has_nothing_to_normalise_by(tmp_path):
    manifest = write_dataset(tmp_path, ("mel",), tracks={"test": 2})
    with pytest.raises(UsageError, match="no training records of kind mel"):
        find_normalization(str(tmp_path), manifest, "mel")


def test_a_run_that_lost_its_normalisation_is_one_line(tmp_path):
    with pytest.raises(FmaError, match=r"normalization\.npz is missing"):
        load_normalization(str(tmp_path), CONFIG)
