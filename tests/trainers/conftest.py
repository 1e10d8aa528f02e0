"""What several tests of training share: small models, a dataset with statistics, and one finished run."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fma
from tests.trainers import tiny
from tests.trainers.synthetic import write_dataset
from trainers.encoders.table import ENCODERS
from trainers.models import MODELS
from transforms.weights.table import WEIGHTS

if TYPE_CHECKING:
    import keras


@pytest.fixture(scope="session")
def tiny_models() -> Iterator[None]:
    """Lets `fma train` know the models of `tiny`."""
    before = dict(MODELS)
    tiny.register()
    yield
    MODELS.clear()
    MODELS.update(before)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Two genres, 32 training records of each of mel and raw, statistics."""
    folder = tmp_path_factory.mktemp("trainers") / "dataset"
    write_dataset(folder, tracks={"training": 16, "validation": 10, "test": 6})
    assert fma.main(["statistics", str(folder)]) == 0
    return folder


TREE = {"Rock": "", "Punk": "Rock", "Metal": "Rock", "Electronic": "", "House": "Electronic", "Techno": "Electronic"}


@pytest.fixture(scope="session")
def several(tmp_path_factory) -> Path:
    """Four genres below two others, one or two of them for each track, some without a genre_top; mel, raw and stats."""
    folder = tmp_path_factory.mktemp("trainers") / "several"
    write_dataset(folder, ("mel", "raw", "stats"), tracks={"training": 48, "validation": 12, "test": 12}, tree=TREE)
    assert fma.main(["statistics", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def finished(tiny_models, dataset, tmp_path_factory) -> Path:
    """A finished run of the tiny model on that dataset. Not to be written to."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert fma.main(["train", "tiny", "--data", str(dataset), "--run", str(run), "--device", "cpu"]) == 0
    return run


@pytest.fixture(scope="session")
def fake_wheel(tmp_path_factory) -> "tuple[Path, Mapping[str, keras.Model]]":
    """A wheel like musicnn's with random networks, and these."""
    from tests.trainers.encoders.fake_musicnn import write_wheel

    return write_wheel(tmp_path_factory.mktemp("musicnn"))


@pytest.fixture
def fake_musicnn(fake_wheel, monkeypatch) -> "Mapping[str, keras.Model]":
    """Lets the wheel with random networks be the published one, and returns them."""
    return publish(*fake_wheel, monkeypatch)


def publish(wheel: Path, networks: "Mapping[str, keras.Model]", monkeypatch) -> "Mapping[str, keras.Model]":
    """Lets a wheel be the published one of musicnn, which is here already."""
    data = wheel.read_bytes()
    for name in networks:
        row = replace(WEIGHTS[name], size=len(data), sha256=hashlib.sha256(data).hexdigest())
        monkeypatch.setitem(WEIGHTS, name, row)
        monkeypatch.setitem(ENCODERS, name, replace(ENCODERS[name], weights=row))
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(wheel.parent))
    return networks
