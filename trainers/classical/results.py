"""The results of a baselines run: from fitted models to metrics, and the folder that holds them."""

import csv
import io
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.classical.models import MODELS
from trainers.classical.search import Fitted, Job
from trainers.classical.table import Table, group_columns, read_stats
from trainers.evaluation import metrics
from trainers.evaluation.calibration import class_scores, log_probabilities
from trainers.runs.directory import RunConfig, load_config, read_metrics, write_metrics
from trainers.runs.predictions import RunPredictions, write_predictions
from transforms import storage
from transforms.dataset.manifest import load
from transforms.errors import FmaError, UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from trainers.classical.search import Fitted


MODELS_FOLDER, SEARCH = "models", "search.csv"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "joblib", "skops")
"""That a saved model depends on."""


def model_file(name: str, fold: int, folds: int) -> str:
    """A model's path in the run."""
    return storage.join(MODELS_FOLDER, f"{name}.skops" if folds == 1 else f"{name}-fold{fold + 1}.skops")


def save_model(run: str, path: str, pipeline: "Pipeline") -> None:
    """Writes a fitted pipeline."""
    import skops.io

    storage.write_bytes(storage.join(run, path), skops.io.dumps(pipeline))


def load_model(run: str, path: str) -> "Pipeline":
    """Reads a fitted pipeline.

    Raises:
      FmaError: the file is missing, damaged, or holds types that a pipeline of ours does not.
    """
    import zipfile

    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = storage.join(run, path)
    try:
        with warnings.catch_warnings():
            # `warn_about_versions` says it once for a run, in one line.
            warnings.filterwarnings("ignore", message="Trying to unpickle|.*version")
            return skops.io.loads(storage.read_bytes(path))
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: run fma baselines again with another --run") from error
    except UntrustedTypesFoundException as error:
        raise FmaError(f"{path} is not one of our models, and is not loaded: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise FmaError(f"{path} is damaged ({error}): run fma baselines again with another --run") from error


def warn_about_versions(run: str, made_with: dict[str, Any]) -> None:
    """Says so where scikit-learn is not the version that the run's models were fitted with."""
    have, had = metadata.version("scikit-learn"), made_with.get("scikit-learn")
    if have != had:
        console.log(f"{run} was fitted with scikit-learn {had}, this is {have}: predictions may differ")


def write_search(run: str, results: Sequence[tuple[str, "Fitted"]]) -> None:
    """Writes search.csv: a row for each candidate of each named result."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "fold", "params", "accuracy", "log_loss", "temperature", "converged", "chosen"))
    for name, fitted in results:
        for trial in fitted.trials:
            numbers = (f"{trial.accuracy:.6g}", f"{trial.log_loss:.6g}", f"{trial.temperature:.6g}")
            state = (int(trial.converged), int(trial is fitted.chosen))
            writer.writerow((name, fitted.job.fold + 1, json.dumps(trial.params), *numbers, *state))
    storage.write_bytes(storage.join(run, SEARCH), text.getvalue().encode())


KIND_OF_RUN = "baselines"
"""`model` in the run's config.json."""

SCORES_IN_WORDS = {
    "predict_log_proba": "predict_log_proba",
    "predict_proba": "log(predict_proba, at least 0.001)",
    "decision_function": "decision_function",
}


def job_name(job: Job, groups: int) -> str:
    """A model's name in the run: svm, or svm@mfcc where the run has several feature groups."""
    return job.model if groups == 1 else f"{job.model}@{job.group}"


def save_results(run: str, table: Table, results: Sequence[Fitted], seed: int) -> dict[str, Any]:
    """Writes models, search.csv, predictions and at last metrics.json; returns what is in the last."""
    groups = len({fitted.job.group for fitted in results})
    named: dict[str, list[Fitted]] = {}
    for fitted in results:
        named.setdefault(job_name(fitted.job, groups), []).append(fitted)
    for name, folds in named.items():
        for fitted in folds:
            save_model(run, model_file(name, fitted.job.fold, len(folds)), fitted.pipeline)
    write_search(run, [(name, fitted) for name, folds in named.items() for fitted in folds])
    predictions = _predictions(table, named)
    write_predictions(run, "test", predictions)
    found = _score(predictions, seed)
    described = {"models": {name: found[name] | _describe(name, folds) for name, folds in named.items()}}
    write_metrics(run, described)
    return described


def _predictions(table: Table, named: dict[str, list[Fitted]]) -> RunPredictions:
    jobs = [fitted.job for fitted in next(iter(named.values()))]
    rows = np.concatenate([job.test for job in jobs])
    order = np.argsort(rows)
    fold = np.repeat([job.fold for job in jobs], [len(job.test) for job in jobs])
    values = {
        name: np.concatenate([log_probabilities(f.scores, f.chosen.temperature) for f in folds])[order]
        for name, folds in named.items()
    }
    rows = rows[order]
    return RunPredictions(table.track_ids[rows], table.labels[rows], table.genres, values, fold[order])


def _score(predictions: RunPredictions, seed: int) -> dict[str, dict[str, Any]]:
    """{"per_track": ...} of each model."""
    of = (predictions.label, predictions.track_id, predictions.genres)
    return {
        name: {"per_track": metrics.evaluate(values, *of, seed=seed)["per_track"]}
        for name, values in predictions.log_probabilities.items()
    }


def _describe(name: str, folds: Sequence[Fitted]) -> dict[str, Any]:
    """How a model came about: one entry of `fits` for each round."""
    job = folds[0].job
    return {
        "model": job.model,
        "features_group": job.group,
        "probabilities": f"softmax({SCORES_IN_WORDS[MODELS[job.model].scores]} / temperature)",
        "fits": [
            {
                "file": model_file(name, fitted.job.fold, len(folds)),
                "rows": len(fitted.job.fit),
                "params": fitted.chosen.params,
                "components": _components(fitted),
                "temperature": fitted.chosen.temperature,
                "validation": {"accuracy": fitted.chosen.accuracy, "log_loss": fitted.chosen.log_loss},
            }
            for fitted in folds
        ],
    }


def _components(fitted: Fitted) -> int:
    """How many numbers the classifier sees: the columns, or the principal components that are kept."""
    return int(fitted.pipeline.named_steps["classifier"].n_features_in_)


def load_finished(run: str) -> tuple[RunConfig, dict[str, Any]]:
    """Config and metrics of a baselines run.

    Raises:
      UsageError: it is another kind of run, or not finished.
    """
    config = load_config(run)
    if config.model != KIND_OF_RUN:
        raise UsageError(f"{run} is a run of {config.model}, not of fma baselines")
    found = read_metrics(run)
    if not found:
        raise UsageError(f"{run} is not finished: run fma baselines again with the same settings")
    return config, found


def evaluate_baselines(run: str, dataset: str, split: str = "test") -> tuple[dict[str, Any], RunPredictions]:
    """Scores every model of a run on a split of a dataset, by track.

    Args:
      run: of fma baselines --data.
      dataset: with stats records; the run's own or another one.
      split: one of the splits.

    Returns:
      {"models": {name: {"per_track": ...}}, "labels": the models' genres, "left_out": tracks by genre that the models
      do not know}, and the predictions. On the run's own dataset and test split the numbers are those of its
      metrics.json.

    Raises:
      UsageError: not a finished run, one on FMA's own tables, or no track of the split has a genre that it knows.
      FmaError: a file is damaged.
    """
    config, found = load_finished(run)
    if config.options.get("features_csv"):
        raise UsageError(
            f"{run} was fitted on {config.dataset['path']}, whose values are not those of a dataset's records; "
            "its test results stand in its metrics.json"
        )
    warn_about_versions(run, config.made_with)
    table = read_stats(dataset, load(dataset), (split,))
    ids = np.array([config.labels.index(g) if g in config.labels else -1 for g in table.genres], np.int64)[table.labels]
    left_out = Counter(table.genres[label] for label in table.labels[ids < 0])
    known = table.take(np.flatnonzero(ids >= 0))
    if not len(known.labels):
        raise UsageError(f"no {split} track of {dataset} has a genre that {run} knows: {', '.join(config.labels)}")
    values = {name: _predict(run, entry, known, len(config.labels)) for name, entry in found["models"].items()}
    one_round = np.zeros(len(known.labels), np.int64)
    predictions = RunPredictions(known.track_ids, ids[ids >= 0], config.labels, values, one_round)
    models = _score(predictions, config.seed)
    return {"models": models, "labels": config.labels, "left_out": dict(sorted(left_out.items()))}, predictions


def _predict(run: str, entry: dict[str, Any], table: Table, classes: int) -> np.ndarray:
    (fit,) = entry["fits"]
    values = table.values[:, group_columns(table.columns, entry["features_group"])]
    scores = class_scores(load_model(run, fit["file"]), MODELS[entry["model"]].scores, values, classes)
    return log_probabilities(scores, fit["temperature"])
