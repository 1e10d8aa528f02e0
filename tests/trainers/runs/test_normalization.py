"""Loading and carrying the graphs that real tensorflow_transform wrote."""

import errno
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.synthetic import write_dataset
from trainers.runs.normalization import copy_transform, find_transform, load_transform
from transforms import storage
from transforms.dataset import manifest as manifests
from transforms.dataset.manifest import Manifest
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


def some_mels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32)).astype(np.uint8)


def test_a_graph_normalises_batches_in_tf_data_with_static_shapes(dataset):
    import tensorflow as tf

    transform = load_transform(str(dataset), "mel")
    values = some_mels(8)
    records = tf.data.Dataset.from_tensor_slices({"mel": values, "label": np.arange(8)})
    batches = records.batch(4, drop_remainder=True).map(lambda features: features | transform(features))
    assert batches.element_spec["mel"] == tf.TensorSpec([4, 32, 32], tf.float32)
    assert batches.element_spec["label"].shape == [4]
    found = np.concatenate([batch["mel"].numpy() for batch in batches])
    np.testing.assert_array_equal(found, transform({"mel": tf.constant(values)})["mel"])
    open_ended = records.batch(3).map(transform)
    assert open_ended.element_spec["mel"].shape.as_list() == [None, 32, 32]
    assert [len(batch["mel"]) for batch in open_ended] == [3, 3, 2]


def test_the_graph_of_the_statistics_gives_scores_and_components(dataset):
    import tensorflow as tf

    transform = load_transform(str(dataset), "stats")
    batches = tf.data.Dataset.from_tensors({"stats": tf.zeros([5, 518])}).map(transform)
    expected = {"stats": tf.TensorSpec([5, 518], tf.float32), "stats_pca": tf.TensorSpec([5, 11], tf.float32)}
    assert batches.element_spec == expected
    (found,) = batches
    assert {name: value.shape.as_list() for name, value in found.items()} == {"stats": [5, 518], "stats_pca": [5, 11]}


def test_a_graph_is_exported_with_the_model_that_holds_it(copied, tmp_path):
    import tensorflow as tf

    transform = load_transform(str(copied), "mel")

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.transform = transform

        @tf.function(input_signature=[tf.TensorSpec([None, 32, 32], tf.uint8)])
        def serve(self, mel):
            return {"score": tf.reduce_mean(self.transform({"mel": mel})["mel"], [1, 2])}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "exported"), signatures={"serving_default": model.serve})
    shutil.rmtree(copied)
    values = some_mels(3)
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"](mel=tf.constant(values))
    expected = transform({"mel": tf.constant(values)})["mel"].numpy().mean((1, 2))
    np.testing.assert_allclose(served["score"], expected, rtol=0, atol=1e-6)


def test_a_run_carries_its_graph_and_keeps_it(copied, tmp_path):
    import tensorflow as tf

    run = str(tmp_path / "run")
    path = copy_transform(str(copied), load(copied), "mel", run)
    assert path == f"{run}/transform_fn/mel/transform_fn"
    values = tf.constant(some_mels(2))
    expected = load_transform(str(copied), "mel")({"mel": values})["mel"]
    shutil.rmtree(copied / "transform_fn")
    assert copy_transform(str(copied), load(copied), "mel", run) == path
    np.testing.assert_array_equal(load_transform(run, "mel")({"mel": values})["mel"], expected)


def test_an_interrupted_copy_is_made_again(dataset, tmp_path, monkeypatch):
    run = str(tmp_path / "run")
    write = storage.write_bytes

    def full_disk(path: str, data: bytes) -> None:
        if "variables" in path:
            raise OSError(errno.ENOSPC, "no space left on device")
        write(path, data)

    monkeypatch.setattr(storage, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        copy_transform(str(dataset), load(dataset), "mel", run)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="has no normalisation graph"):
        load_transform(run, "mel")
    copy_transform(str(dataset), load(dataset), "mel", run)
    assert load_transform(run, "mel")({"mel": some_mels(2)})["mel"].shape == [2, 32, 32]


def test_a_dataset_without_statistics_says_what_to_run(copied, tmp_path):
    manifest = load(copied)
    manifest.transform_fn = None
    manifests.commit(str(copied), manifest)
    for ask in (
        lambda: find_transform(str(copied), manifest, "mel"),
        lambda: copy_transform(str(copied), manifest, "mel", str(tmp_path / "run")),
        lambda: load_transform(str(copied), "mel"),
    ):
        with pytest.raises(UsageError, match=f"no statistics of kind mel: run fma statistics {copied} first"):
            ask()
    assert not (tmp_path / "run").exists()


def test_statistics_from_before_the_dataset_grew_are_refused(copied):
    manifest = load(copied)
    manifest.transform_fn = replace(manifest.transform_fn, records="of fewer records")
    with pytest.raises(UsageError, match=f"has grown since .*: run fma statistics {copied} first"):
        find_transform(str(copied), manifest, "mel")


def test_a_graph_that_is_listed_but_missing_is_said_so(copied):
    shutil.rmtree(copied / load(copied).transform_fn.path / "stats")
    with pytest.raises(UsageError, match=f"stats/transform_fn is missing: run fma statistics {copied} first"):
        load_transform(str(copied), "stats")


def test_a_dataset_without_training_records_has_nothing_to_normalise_by(tmp_path):
    manifest = write_dataset(tmp_path, ("mel",), tracks={"test": 2})
    with pytest.raises(UsageError, match="no training records of kind mel"):
        find_transform(str(tmp_path), manifest, "mel")


def test_a_run_without_a_graph_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="has no normalisation graph of kind mel"):
        load_transform(str(tmp_path), "mel")


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
def test_a_damaged_graph_is_one_line(dataset, tmp_path, name):
    path = Path(copy_transform(str(dataset), load(dataset), "mel", str(tmp_path / "run")))
    (path / name).write_bytes(b"damaged" * 40)
    with pytest.raises(FmaError, match=r"cannot be loaded .*: train the run again") as raised:
        load_transform(str(tmp_path / "run"), "mel")
    assert "\n" not in str(raised.value)


def test_a_graph_works_in_a_process_that_never_saw_tensorflow_transform(dataset):
    script = (
        "import sys, tensorflow as tf\n"
        "from trainers.runs.normalization import load_transform\n"
        "transform = load_transform(sys.argv[1], 'mel')\n"
        "print(transform({'mel': tf.zeros([2, 32, 32], tf.uint8)})['mel'].shape)\n"
        "assert not {'tensorflow_transform', 'tf_keras', 'apache_beam'} & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(dataset)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "(2, 32, 32)"
