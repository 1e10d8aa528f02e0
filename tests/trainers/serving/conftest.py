"""A dataset made of songs, and a run of each kind of model on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import fma
from tests.trainers.serving import songs
from trainers.evaluation.calibration import Calibration
from trainers.serving.app import Service
from trainers.serving.engine import Engine
from trainers.serving.neighbours import open_neighbours
from trainers.serving.scorers import open_scorer
from trainers.serving.uploads import UploadLimits
from transforms.audio.decoder_process import Limits
from transforms.dataset.manifest import Manifest
from transforms.tracks import Track

KINDS = ("mel_cnn", "tiny_transfer", "waveform_cnn", "yamnet")
"""A network on mel, a transfer model by window, one on fixed crops of the waveform, one that pools over the track."""

LIMITS = Limits(audio_seconds=600.0)


@dataclass(frozen=True)
class Music:
    """Songs and their dataset."""

    tracks: list[Track]
    dataset: Path
    manifest: Manifest

    def of(self, split: str) -> list[Track]:
        return [track for track in self.tracks if track.split == split]


@pytest.fixture(scope="session")
def music(tmp_path_factory) -> Music:
    folder = tmp_path_factory.mktemp("music")
    tracks = songs.write_songs(folder / "songs")
    return Music(tracks, folder / "dataset", songs.ingest(folder / "dataset", tracks))


@pytest.fixture(scope="session")
def run_of(music, dataset, tiny_models, tmp_path_factory) -> Callable[[str], Path]:
    """The run of a model, made once: `run_of("mel_cnn")`, `run_of("baselines")`."""
    made: dict[str, Path] = {}

    def run(model: str) -> Path:
        if model not in made:
            folder = tmp_path_factory.mktemp("served") / model
            if model == "baselines":
                command = ["baselines", "--data", str(music.dataset), "--run", str(folder), "--models", "logreg,gnb"]
                assert fma.main([*command, "--jobs", "1"]) == 0
            else:
                songs.write_run(folder, model, music.dataset, dataset)
                songs.evaluate(folder, music.dataset)
            made[model] = folder
        return made[model]

    return run


@pytest.fixture(scope="session")
def engine_of(run_of):
    """An engine on the run of a model, without calibration where that is asked for."""
    engines: list[Engine] = []

    def engine(model: str, *, calibrated: bool = True, **options) -> Engine:
        scorer = open_scorer(str(run_of(model)), device="cpu")
        if not calibrated:
            scorer.task = replace(scorer.task, calibration=Calibration())
        engines.append(Engine(scorer, LIMITS, 1, **options))
        return engines[-1]

    yield engine
    for made in engines:
        made.close()


@pytest.fixture
def predict(run_of, capsys):
    """Runs the command on a run; returns its exit code, standard output and standard error."""

    def run(model: str, *arguments: object) -> tuple[int, str, str]:
        folder = run_of(model)
        capsys.readouterr()
        device = () if model == "baselines" else ("--device", "cpu")
        code = fma.main(["predict", str(folder), *map(str, arguments), *device])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def service(engine_of, music, run_of) -> Service:
    engine = engine_of("mel_cnn", spectrograms=True)
    neighbours = open_neighbours(str(run_of("mel_cnn")), engine.scorer, str(music.dataset))
    return Service(engine, neighbours, "mel_cnn", UploadLimits(4 << 20), LIMITS, 1)
