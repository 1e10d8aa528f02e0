"""A .keras file is looked at before Keras reads it: what none of our models has is refused, and never executed."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import fma
from tests.trainers.small_models import build, fake_yamnet
from trainers.models import MODELS, yamnet
from trainers.models.keras_file import KERAS_ERRORS, load_keras_file
from trainers.models.spec import ModelInput, ModelOptions
from trainers.runs.state import MODEL, load_state
from trainers.training import checkpoint
from transforms.errors import UsageError

pytestmark = pytest.mark.usefixtures("tiny_models")

KNOWN = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {}}


@pytest.fixture(scope="module")
def yamnet_file(tmp_path_factory) -> Path:
    return fake_yamnet(tmp_path_factory.mktemp("weights") / "yamnet.keras")


def rewrite(path: Path, **members: bytes | None) -> Path:
    """Replaces members of a zip, by their names up to the first dot; None leaves one out."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    content = {name: members.get(name.partition(".")[0], data) for name, data in content.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            if data is not None:
                file.writestr(name, data)
    return path


def config_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("config.json"))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_each_of_our_models_is_loaded(name, policy, yamnet_file, tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build(name, yamnet_file)
    finally:
        keras.mixed_precision.set_global_policy(before)
    model.save(tmp_path / "model.keras")
    found = load_keras_file(str(tmp_path / "model.keras"))
    for value, same in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, same)


def test_a_compiled_network_is_loaded(yamnet_file, tmp_path):
    network = keras.saving.load_model(yamnet_file)
    network.compile("adam", ["mse", "mse"])
    network.save(tmp_path / "compiled.keras")
    assert config_of(tmp_path / "compiled.keras")["compile_config"]
    assert not load_keras_file(str(tmp_path / "compiled.keras")).compiled


@pytest.mark.parametrize(
    "changes",
    [
        {"class_name": "Lambda"},
        {"class_name": "TFSMLayer"},
        {"class_name": "TorchModuleWrapper"},
        {"module": "os", "class_name": "system"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"module": "trainers.models.layers"},
        {"module": None, "class_name": "__lambda__"},
        {"module": None},
        {"registered_name": "Custom>Dense"},
        {"registered_name": "fma>Dense"},
        {"registered_name": "fma>OverCrops"},
        {"module": ["keras.layers"]},
    ],
)
def test_any_other_class_is_refused_wherever_it_stands(yamnet_file, tmp_path, changes):
    path = Path(shutil.copy(yamnet_file, tmp_path))
    for place in (None, "activation"):
        config = config_of(yamnet_file)
        layer = next(one for one in config["config"]["layers"] if one["class_name"] == "Dense")
        if place:
            layer["config"][place] = KNOWN | changes
        else:
            layer |= {key: value for key, value in changes.items() if key != "config"}
        rewrite(path, config=json.dumps(config).encode())
        with pytest.raises(ValueError, match=r"it names .*, which our models do not have"):
            load_keras_file(str(path))


def test_a_lambda_is_refused_before_its_code_is_unpacked(tmp_path, capsys):
    inputs = keras.Input((96, 64))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(tmp_path / "lambda.keras")
    with pytest.raises(UsageError, match=r"it names keras\.layers\.Lambda, which our models do not have") as refused:
        yamnet.build(ModelInput((16_000,), 22_050), 3, ModelOptions(weights=str(tmp_path / "lambda.keras")))
    assert "\n" not in str(refused.value)


def test_a_run_with_a_strangers_model_is_one_line(finished, dataset, tmp_path, capsys):
    run = str(shutil.copytree(finished, tmp_path / "run"))
    inputs = keras.Input((32, 32))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x[:, 0, :2])(inputs))
    checkpoint.write_model(run, MODEL, model, load_state(run).best_epoch)  # its checksum is right
    capsys.readouterr()
    assert fma.main(["evaluate", run, "--data", str(dataset), "--device", "cpu"]) == 1
    (*_, last) = capsys.readouterr().err.splitlines()
    assert "model.keras cannot be loaded (it names keras.layers.Lambda, which our models do not have)" in last


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: rewrite(path, config=b"{"),
        lambda path: rewrite(path, config=b"[" * 100_000),
        lambda path: rewrite(path, config=b" " * (17 << 20)),
        lambda path: rewrite(path, config=None),
        lambda path: rewrite(path, config=b"{}"),
        lambda path: rewrite(path, config=b"[]"),
        lambda path: rewrite(path, model=b""),
        lambda path: rewrite(path, model=b"no h5"),
        lambda path: zipfile.ZipFile(path, "a").writestr("assets/x", b""),
    ],
)
def test_a_damaged_file_is_one_of_the_errors_that_callers_expect(yamnet_file, tmp_path, damage):
    path = Path(shutil.copy(yamnet_file, tmp_path))
    damage(path)
    with pytest.raises(UsageError, match=r"is not YAMNet as a \.keras file") as refused:
        yamnet.load_yamnet(str(path))
    assert "\n" not in str(refused.value)


def test_flipped_bits_are_found_by_the_zips_own_checksums(yamnet_file, tmp_path):
    path = Path(shutil.copy(yamnet_file, tmp_path))
    data, rng = path.read_bytes(), np.random.default_rng(0)
    weights = load_keras_file(str(path)).get_weights()
    refused = 0
    for position in rng.integers(0, len(data), 12):
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            found = load_keras_file(str(path)).get_weights()
            assert all(np.array_equal(value, same) for value, same in zip(found, weights, strict=True))
        except KERAS_ERRORS:
            refused += 1
    assert refused >= 10
