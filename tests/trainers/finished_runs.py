"""Runs as they lie on disk when they are finished, without any training: for tests of what reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainers.evaluation.multilabel import ancestors, choose_thresholds, evaluate, keep_consistent
from trainers.runs.directory import RunConfig, create_run, write_metrics
from trainers.runs.files import BUNDLE, CONFIG, read_identity, read_json, write_identity, write_json
from trainers.runs.genre_facts import GenreFacts, write_genre_facts
from trainers.runs.genre_predictions import GenrePredictions, write_genre_predictions
from trainers.runs.predictions import RunPredictions, write_predictions
from trainers.runs.state import RunState, history_row, save_state, write_history
from transforms.taxonomy import Taxonomy

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
        state = RunState(
            epoch=epochs, phase_epoch=epochs, best=1.0, best_epoch=best, finished="all epochs done", history=rows
        )
        save_state(run, state)
    return run


def write_genre_run(
    run,
    tree: Mapping[str, str],
    models: Sequence[str] = ("mel_cnn",),
    *,
    dataset: str = "gone",
    digest: str = "a" * 64,
    track_id: Sequence[int] = range(100, 160),
    skill: float = 2.0,
    seed: int = 0,
) -> str:
    """Writes a finished run with many genres for each track, without a history; returns its path.

    A track has one or two genres of the tree, drawn at random and the same ones in every such run, and their ancestors.

    Args:
      tree: {genre: its parent, "" at the top}, in the order of the model's outputs.
      run, models, dataset, digest, track_id, skill, seed: as of `write_run`.
    """
    run, ids, genres = str(run), np.array(track_id, np.int64), list(tree)
    rng, above = np.random.default_rng(0), ancestors(genres, Taxonomy(tree))
    drawn = rng.integers(0, len(genres), (2, len(ids)))
    truth = above[drawn[0]] | (above[drawn[1]] & (rng.random(len(ids)) < 0.5)[:, None])
    rng = rng if seed == 0 else np.random.default_rng(seed)
    name, phases = (models[0], [{"name": "train", "epochs": 3}]) if len(models) == 1 else ("baselines", [])
    options = {"width": 1.0, "labels": "all", "min_tracks": 20}
    of_dataset = {"path": dataset, "digest": digest, "config": {}}
    create_run(run, RunConfig(name, options, seed, of_dataset, genres, phases, {"numpy": "2"}, dict(tree)))
    prior, found, thresholds, scores = truth.mean(axis=0), {}, {}, {}
    for i, model in enumerate(models):
        logits = rng.standard_normal(truth.shape) + skill / 2**i * (2 * truth - 1) - 1
        values = keep_consistent(1 / (1 + np.exp(-logits)), above).astype(np.float32)
        found[model], thresholds[model] = values, choose_thresholds(values, truth)
        scores[model] = evaluate(values, truth, genres, Taxonomy(tree), thresholds=thresholds[model], prior=prior)
    write_genre_predictions(run, "test", GenrePredictions(ids, truth, genres, found, thresholds, prior))
    write_genre_facts(run, GenreFacts(prior, thresholds))
    if len(models) == 1:
        write_metrics(run, {"test": {"per_track": scores[name], "labels": genres, "left_out": {}}})
        save_state(run, RunState(epoch=3, phase_epoch=3, best_epoch=2, finished="all epochs done"))
    else:
        write_metrics(run, {"models": {model: {"per_track": entry} for model, entry in scores.items()}})
    return run
