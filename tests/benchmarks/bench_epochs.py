"""Which epoch's model to keep: the one that validation chooses, or the last; in five folds of the real sample.

`mel_cnn` is trained to its last epoch in each fold, and every epoch's model scored on the fold's test tracks. Then the
epoch is chosen by all validation tracks of the fold, by few of them, by the median of the other folds' best epochs, and
by the schedule, which is the last one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import keras
import numpy as np

import fma
from tests.benchmarks import clips
from tests.benchmarks.harness import Row, spread
from tests.conftest import DATA
from trainers.data.inputs import Inputs
from trainers.evaluation.calibration import log_loss
from trainers.evaluation.evaluate import Predictor
from trainers.evaluation.metrics import log_softmax
from trainers.training import checkpoint
from trainers.training.devices import open_device
from trainers.training.folds import plan_folds
from trainers.training.front_features import Embeddings
from trainers.training.loop import train_run
from trainers.training.plan import HELD_OUT, Plan, TrainOptions, make_plan
from transforms.runtime import console

SEEDS, EPOCHS, WIDTH, FOLDS = (0, 1), 16, 0.25, 5
DRAWS = 300  # of few validation tracks


@dataclass(frozen=True)
class Scores:
    """What a model says after each epoch: of windows, which training chooses by, or of tracks."""

    values: np.ndarray  # float64 [epochs, n, genres], log-probabilities
    label: np.ndarray  # int64 [n]
    track_id: np.ndarray  # int64 [n]

    def best(self, tracks: np.ndarray | None = None) -> int:
        """The epoch with the lowest cross-entropy, of some tracks or of all."""
        rows = slice(None) if tracks is None else np.isin(self.track_id, tracks)
        return int(np.argmin([log_loss(values[rows], self.label[rows], 1.0) for values in self.values]))

    def draw(self, random: np.random.Generator, genres: Sequence[int], each: int) -> np.ndarray:
        """So many tracks of each of some genres."""
        tracks, first = np.unique(self.track_id, return_index=True)
        of = [tracks[self.label[first] == genre] for genre in genres]
        return np.concatenate([random.choice(ids, min(each, len(ids)), replace=False) for ids in of])


def train_fold(plan: Plan) -> dict[str, Scores]:
    """Trains a fold's run; returns the scores of its held-out splits."""
    kept: list[list[np.ndarray]] = []
    write = checkpoint.write

    def keep(run: str, name: str, model: keras.Model, *args: object, **options: object) -> None:
        kept.append([np.asarray(variable) for variable in model.variables])
        write(run, name, model, *args, **options)  # type: ignore[arg-type]

    with patch("trainers.training.checkpoint.write", keep):
        train_run(plan)
    device = open_device(plan.options.device)
    model = checkpoint.load_model(plan.options.run)
    predictor = Predictor(plan.spec, model, device)
    inputs = Inputs(plan.options.data, plan.manifest, plan.spec.kind, splits=plan.splits)
    found: dict[str, list[Embeddings]] = {split: [] for split in HELD_OUT}
    for values in kept:
        for variable, value in zip(model.variables, values, strict=True):
            variable.assign(value)
        for split, scores in found.items():
            windows = predictor.predict(inputs, split, 32).windows
            windows = replace(windows, features=log_softmax(windows.features))
            scores.append(windows if split == "validation" else windows.by_track())
    return {
        split: Scores(np.stack([score.features for score in scores]), scores[0].label, scores[0].track_id)
        for split, scores in found.items()
    }


def choose(folds: list[Scores]) -> dict[str, list[list[int]]]:
    """Returns the epoch of each fold by its validation, for each way to choose: once, or by each draw of few tracks."""
    random, genres = np.random.default_rng(0), range(int(folds[0].label.max()) + 1)
    best = [fold.best() for fold in folds]
    others = [int(np.median(np.delete(best, number))) for number in range(len(folds))]

    def two_of_each(fold: Scores) -> np.ndarray:
        return fold.draw(random, genres, 2)

    def three_of_one(fold: Scores) -> np.ndarray:
        return fold.draw(random, [int(random.integers(len(genres)))], 3)

    return {
        "all validation tracks": [best],
        "the other folds' median": [others],
        "the last epoch": [[EPOCHS - 1] * len(folds)],
        "2 tracks of each genre": [[fold.best(two_of_each(fold)) for fold in folds] for _ in range(DRAWS)],
        "3 tracks of one genre": [[fold.best(three_of_one(fold)) for fold in folds] for _ in range(DRAWS)],
    }


def measure(folder: Path) -> list[Row]:
    """Accuracy and loss of the test tracks of all folds, for each way to choose the epoch."""
    if not clips.real(1):
        console.log("epochs: left out, the real sample is not here")
        return []
    data, sample = folder / "sample", DATA / "fma_sample"
    shutil.rmtree(folder / "epochs", ignore_errors=True)
    words = ["--audio", str(sample / "audio"), "--metadata", str(sample / "fma_metadata"), "--out", str(data)]
    assert fma.main(["ingest", *words, "--subset", "medium", "--features", "mel", "--max-failures", "20"]) == 0
    rows = []
    for seed in SEEDS:
        run = str(folder / "epochs" / str(seed))
        options = {"epochs": (EPOCHS,), "patience": EPOCHS, "width": WIDTH, "seed": seed, "folds": FOLDS}
        plan = make_plan(TrainOptions("mel_cnn", str(data), run, **options))  # type: ignore[arg-type]
        folds = [train_fold(fold) for fold in plan_folds(plan)]
        tests = [fold["test"] for fold in folds]
        label = np.concatenate([test.label for test in tests])
        for name, draws in choose([fold["validation"] for fold in folds]).items():
            chosen = [
                np.concatenate([test.values[at] for test, at in zip(tests, epochs, strict=True)]) for epochs in draws
            ]
            right = [float((values.argmax(axis=1) == label).mean()) for values in chosen]
            losses = [log_loss(values, label, 1.0) for values in chosen]
            rows.append(spread(f"seed {seed}, {name}: accuracy", right, ""))
            rows.append(spread(f"seed {seed}, {name}: loss", losses, ""))
    return rows
