"""trainers/models/mobilenet_v2.py and trainers/models/pretrained.py: what is trained when, with which weights."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.conftest import DATA
from trainers.models import mobilenet_v2
from trainers.models.layers import MelImage
from trainers.models.spec import ModelInput, ModelOptions, front_of, head_of
from transforms.errors import FmaError, UsageError
from transforms.weights.table import WEIGHTS

INPUT = ModelInput((32, 20))
IMAGENET = DATA / "models" / "mobilenet_v2" / "mobilenet_v2_1.0_224_imagenet_from_ptq_notop.weights.h5"


def build(source="none", size=32):
    return mobilenet_v2.build(INPUT, 3, ModelOptions(weights=str(source), image_size=size, dropout=0.0))


def mels(count=4):
    return np.random.default_rng(0).standard_normal((count, *INPUT.shape)).astype("float32")


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def weights_file(model, tmp_path_factory):
    """Weights as a user has them: those of `model`, in a file."""
    network = keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None)
    network.set_weights(front_of(model).get_layer("backbone").get_weights())
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network.save_weights(path)
    return path


def test_images_have_the_range_that_imagenet_networks_see():
    image = np.asarray(MelImage(48, 2.0)(3 * mels() + 5))
    assert image.shape == (4, 48, 48, 3)
    assert np.abs(image).max() <= 1
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    assert 0.3 < image.std() < 0.6


def test_loudness_does_not_change_the_image():
    quiet, loud = MelImage(32, 2.0)(mels()), MelImage(32, 2.0)(1.5 * mels() + 2)
    np.testing.assert_allclose(quiet, loud, atol=1e-3)


def test_low_bands_stay_at_the_top_of_the_image():
    mel = np.zeros((1, *INPUT.shape), "float32")
    mel[:, :4] = 1
    image = np.asarray(MelImage(64, 2.0)(mel))
    assert image[0, :7].min() > image[0, 10:].max()


def test_a_silent_window_is_a_grey_image():
    assert np.abs(MelImage(32, 2.0)(np.full((1, *INPUT.shape), -3, "float32"))).max() < 1e-3


def test_the_first_phase_trains_the_head_alone(model):
    mobilenet_v2.fine_tune(model)
    mobilenet_v2.train_head_only(model)
    assert {variable.path for variable in model.trainable_variables} == {"logits/kernel", "logits/bias"}
    assert len(head_of(model).trainable_variables) == 2


def test_fine_tuning_thaws_the_top_blocks_and_no_batch_norm(model):
    mobilenet_v2.fine_tune(model)
    paths = [variable.path for variable in front_of(model).trainable_variables]
    blocks = {path.split("/")[0].rsplit("_", 1)[0] for path in paths}
    assert blocks == {"block_13", "block_14", "block_15", "block_16", "Conv"}
    assert not any("BN" in path or "bn" in path for path in paths)


def test_batch_norm_works_as_in_inference_while_fine_tuning(model):
    mobilenet_v2.fine_tune(model)
    front = front_of(model)
    before = [np.array(variable) for variable in front.non_trainable_variables]
    np.testing.assert_allclose(front(mels(), training=True), front(mels(), training=False), rtol=1e-5)
    for old, new in zip(before, front.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_come_from_a_file(model, weights_file):
    loaded = build(weights_file)
    np.testing.assert_allclose(front_of(loaded)(mels()), front_of(model)(mels()), rtol=1e-5)


def test_imagenet_weights_are_those_of_the_folder_of_weights(model, weights_file, monkeypatch):
    row = replace(WEIGHTS["mobilenet_v2"], url=f"https://example.invalid/{weights_file.name}")
    monkeypatch.setitem(WEIGHTS, "mobilenet_v2", replace(row, size=weights_file.stat().st_size))
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(weights_file.parent))
    np.testing.assert_allclose(front_of(build("imagenet"))(mels()), front_of(model)(mels()), rtol=1e-5)


def test_imagenet_weights_that_cannot_be_fetched_say_how_to_bring_them(monkeypatch, tmp_path):
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("FMA_WEIGHTS_URL", "http://fma.invalid")
    with pytest.raises(FmaError, match="Or download it elsewhere, and: fma weights mobilenet_v2 --from FILE"):
        build("imagenet")


def test_a_missing_weights_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        build(tmp_path / "absent.weights.h5")


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    for name in ("x.weights.h5", "x.h5", "x.txt"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(UsageError, match="does not hold weights of MobileNetV2") as raised:
            build(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_weights_of_another_width_are_refused(tmp_path):
    other = keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35)
    for name in ("x.weights.h5", "x.h5"):
        (other.save_weights if "weights" in name else other.save)(tmp_path / name)
        with pytest.raises(UsageError, match="does not hold weights of MobileNetV2") as raised:
            build(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(UsageError, match="--image-size 16"):
        build(size=16)


@pytest.mark.skipif(not IMAGENET.exists(), reason=f"the ImageNet weights are not at {IMAGENET}")
def test_the_real_imagenet_weights_load_and_tell_images_apart():
    front = front_of(build(IMAGENET, size=96))
    features = np.asarray(front(mels()))
    assert features.shape == (4, 2 * (384 + 960 + 1280))
    assert np.corrcoef(features)[0, 1] < 0.999
    assert 0.01 < features.mean() < 10
