"""Runs as they lie on disk when they are finished, without any training: for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.runs.directory import RunConfig, create_run
from trainers.runs.files import BUNDLE, CONFIG, read_identity, read_json, write_identity, write_json
from trainers.runs.predictions import RunPredictions, write_predictions
from trainers.runs.state import RunState, history_row, save_state, write_history

GENRES = ("Folk", "Jazz", "Rock")


def guesses(label: np.ndarray, classes: int, skill: float, seed: int) -> np.ndarray:
    """Log-probabilities float32 [tracks, classes] of a model that is better the more skill it has."""
    scores = np.random.default_rng(seed).standard_normal((len(label), classes))
    scores[np.arange(len(label)), label] += skill
    return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)


def change(file: Path, **values) -> None:
    """Changes values of a JSON file of a run or a bundle, as a program with another idea of them would write them."""
    folder, name = str(file.parent), file.name
    if name in (CONFIG, BUNDLE):
        write_identity(folder, name, read_identity(folder, name) | values)
    else:
        write_json(folder, name, read_json(folder, name) | values)


def write_run(
    run,
    models: Sequence[str] = ("mel_cnn",),
    *,
    dataset: str = "gone",
    digest: str = "a" * 64,
    genres: Sequence[str] = GENRES,
    track_id: Sequence[int] = range(100, 160),
    label: Sequence[int] | None = None,
    skill: float = 2.0,
    seed: int = 0,
    epochs: int = 12,
    values: dict[str, np.ndarray] | None = None,
) -> str:
    """Writes a run with predictions, and with a history where it has one model; returns its path.

    Args:
      run: its folder (str or Path).
      models: names; the run is one of fma baselines where there are several.
      dataset, digest: what config.json says about the dataset.
      genres: in the order of the model's outputs.
      track_id: of the test tracks.
      label: of each track; default: the genres take turns.
      skill: of the first model; each further one has half of it.
      seed: of the guesses.
      epochs: of the history.
      values: {model: log-probabilities}, instead of guesses.
    """
    run, ids = str(run), np.array(track_id, np.int64)
    truth = np.arange(len(ids)) % len(genres) if label is None else np.array(label, np.int64)
    name, phases = (models[0], [{"name": "train", "epochs": epochs}]) if len(models) == 1 else ("baselines", [])
    of_dataset = {"path": dataset, "digest": digest, "config": {}}
    create_run(run, RunConfig(name, {"width": 1.0}, seed, of_dataset, list(genres), phases, {"numpy": "2"}))
    made = {model: guesses(truth, len(genres), skill / 2**i, seed + i) for i, model in enumerate(models)}
    folds = np.zeros(len(ids), np.int64)
    write_predictions(run, "test", RunPredictions(ids, truth, list(genres), values or made, folds))
    if len(models) == 1:
        best = epochs // 2
        rows = [
            history_row(
                {
                    "epoch": i,
                    "phase": "train",
                    "learning_rate": 0.001,
                    "loss": 2 * 0.8**i,
                    "accuracy": 1 - 0.6 * 0.8**i,
                    "val_loss": 1 + 0.05 * abs(i - best),
                    "val_accuracy": 0.6,
                }
            )
            for i in range(1, epochs + 1)
        ]
        write_history(run, rows)
        state = RunState(epoch=epochs, phase_epoch=epochs, best_epoch=best, finished="all epochs done", history=rows)
        save_state(run, state)
    return run
