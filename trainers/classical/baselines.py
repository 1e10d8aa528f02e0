"""A run of `fma baselines`: its settings, its fitted models, and their scores."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.classical import many_genres, one_vs_rest
from trainers.classical.features import STATS, read_features
from trainers.classical.fma_tables import read_fma_table
from trainers.classical.models import DEFAULT_MODELS, MODELS, SVM_ROWS, candidates, save_model
from trainers.classical.novelty import measure_novelty, write_novelties
from trainers.classical.search import Fitted, Round, choose_workers, make_jobs, make_rounds, run_jobs
from trainers.classical.table import ALL, LEVEL_FREE, Table, group_columns
from trainers.data.targets import Targets
from trainers.evaluation.calibration import log_probabilities
from trainers.evaluation.folds import score_models
from trainers.runs.directory import (
    BASELINES,
    RunConfig,
    TrainedOn,
    create_run,
    is_run,
    load_config,
    locked,
    open_run,
    read_metrics,
    versions,
    write_metrics,
)
from trainers.runs.predictions import RunPredictions, write_predictions
from transforms import storage
from transforms.catalog.genres import SCORE_ALL, report_small_genres
from transforms.dataset.manifest import load
from transforms.errors import UsageError
from transforms.runtime import console, cores
from transforms.runtime.os_errors import annotate_os_errors
from transforms.tracks import Track

REFITS = ("train", "train+val")
MODELS_FOLDER, SEARCH = "models", "search.csv"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "joblib", "skops")  # that a saved model depends on

PROBABILITIES = {
    "predict_log_proba": "softmax(predict_log_proba / temperature)",
    "predict_proba": "softmax(log(predict_proba, at least 0.001) / temperature)",
    "decision_function": "softmax(decision_function / temperature)",
}
"""How they are computed from the classifier's scores, for metrics.json."""


@dataclass(frozen=True)
class BaselineOptions:
    """The settings of a run."""

    # keys of `MODELS`, or with many genres of `one_vs_rest.MODELS`; None: the default ones
    models: Sequence[str] | None = None
    # feature groups, each of which every model is fitted on; None: the table's default
    groups: Sequence[str] | None = None
    refit: str = REFITS[0]  # one of `REFITS`: the splits that the chosen models are fitted on
    svm_rows: int = SVM_ROWS  # rows that SVMs are fitted on at most
    seed: int = 0  # of folds, samples and the bootstrap
    jobs: int | None = None  # processes, or with many genres threads; None: as many as cores and memory allow
    min_tracks: int | None = None  # a track has all genres that have so many training tracks; None: its top genre
    folds: int | None = None  # of a cross-validation over all tracks, by artist; None: the dataset's splits

    def __post_init__(self) -> None:
        known = one_vs_rest.MODELS if self.many else MODELS
        if not self.chosen or not known.keys() >= set(self.chosen):
            given = f"--models {','.join(self.chosen)}{' --labels all' if self.many else ''}"
            raise UsageError(f"{given}: choose some of {', '.join(known)}, joined by commas")

    @property
    def many(self) -> bool:
        """Whether a track has many genres."""
        return self.min_tracks is not None

    @property
    def chosen(self) -> tuple[str, ...]:
        """The models to fit."""
        default = one_vs_rest.MODELS if self.many else DEFAULT_MODELS
        return tuple(default if self.models is None else self.models)


@dataclass(frozen=True)
class Source:
    """The tracks of a run: `dataset` and what of its records is taken, as in `read_features`, or FMA's `features_csv`.

    That one comes with `metadata` and `subset` as in `read_fma_table`.
    """

    dataset: str | None = None
    features_csv: str | None = None
    metadata: str | None = None
    subset: str | None = None
    features: tuple[str, ...] = (STATS,)

    def read(self, min_tracks: int | None = None) -> Table:
        """Read all rows: of tracks with a top genre, or with all genres that have `min_tracks` training tracks."""
        if self.features_csv:
            return read_fma_table(self.features_csv, self.metadata, self.subset, min_tracks)
        assert self.dataset
        manifest = load(self.dataset)
        targets = None if min_tracks is None else Targets.read(self.dataset, manifest, min_tracks)
        return read_features(self.dataset, manifest, self.features, targets=targets)


def fit_baselines(run: str, source: Source, options: BaselineOptions) -> dict[str, Any]:
    """Search, fit, score and save, unless the run has finished before; returns the content of metrics.json.

    Raises:
      UsageError: a group names an unknown feature, a split is missing, or the run has other settings.
      FmaError: a file is damaged.
    """
    table = source.read(options.min_tracks)
    if not table.genres:
        raise UsageError(f"{table.name}: no genre has {options.min_tracks} training tracks; give a lower --min-tracks")
    groups = list(options.groups or [_default_group(run, table)])
    for group in groups:
        group_columns(table.columns, group)
    config = _make_config(table, source, options, groups)
    started = open_run(run, config)
    with locked(run), annotate_os_errors(run):
        found = read_metrics(run) if started else {}
        if found:
            console.log(f"{run} is done: the same settings, the same data; nothing to do")
            return found
        if not started:
            create_run(run, config)
        if options.many:
            refit, threads = options.refit == REFITS[1], options.jobs or cores()
            return many_genres.fit_models(
                run, table, options.chosen, groups, refit=refit, seed=options.seed, threads=threads
            )
        if not options.folds:
            _report_splits(table)
        rounds = make_rounds(table, options.refit == REFITS[1], options.seed, options.folds)
        jobs = make_jobs(table, options.chosen, groups, rounds, svm_rows=options.svm_rows, seed=options.seed)
        results = run_jobs(table, jobs, options.jobs or choose_workers(table))
        return _save_results(run, table, results, rounds, options.seed)


def _default_group(run: str, table: Table) -> str:
    """Return the feature group to use where none is given; runs may have begun when it was all columns."""
    if table.default_group == LEVEL_FREE and is_run(run) and load_config(run).options.get("features_group") == ALL:
        return ALL
    return table.default_group


def _report_splits(table: Table) -> None:
    """Show the genres with few tracks in a split, where there are splits."""
    names = (table.genres[label] for label in table.labels)
    rows = zip(table.track_ids.tolist(), names, table.splits.tolist(), table.artists.tolist(), strict=True)
    tracks = (Track(id_, genre, split, artist=artist) for id_, genre, split, artist in rows if split)
    report_small_genres(tracks, SCORE_ALL)


def _make_config(table: Table, source: Source, options: BaselineOptions, groups: list[str]) -> RunConfig:
    """Return the run's config; the search spaces are a setting, too, since they influence the result."""
    size = len(table.columns), len(table.labels)
    spaces = {
        model: one_vs_rest.candidates(model) if options.many else candidates(model, *size) for model in options.chosen
    }
    settings: dict[str, Any] = {
        "models": ",".join(options.chosen),
        "features_group": " ".join(groups),
        "refit": options.refit,
        "search_spaces": hashlib.sha256(json.dumps(spaces).encode()).hexdigest()[:12],
    }
    if options.many:
        settings |= {"labels": "all", "min_tracks": options.min_tracks}
    else:
        settings |= {"svm_rows": options.svm_rows} | ({"folds": options.folds} if options.folds else {})
    if source.features_csv:
        settings |= {"features_csv": True, "subset": source.subset}
    elif source.features != (STATS,):
        encoders = [f"{facts.name} {facts.sha256[:12]}-{facts.version}" for facts in table.encoders.values()]
        settings |= {"features": ",".join(source.features), "encoders": ", ".join(encoders)}
    dataset_config = load(source.dataset).config.to_json() if source.dataset else {}
    dataset = TrainedOn(path=source.dataset or table.name, digest=table.digest, config=dataset_config)
    if table.encoders:
        dataset["encoders"] = {name: facts.to_json() for name, facts in table.encoders.items()}
    made_with = versions(*LIBRARIES)
    return RunConfig(BASELINES, settings, options.seed, dataset, table.genres, [], made_with, table.parents)


def _save_results(
    run: str, table: Table, results: Sequence[Fitted], rounds: Sequence[Round], seed: int
) -> dict[str, Any]:
    """Write models, search.csv, predictions and, last, metrics.json; returns the content of the latter."""
    several_groups = len({fitted.job.group for fitted in results}) > 1
    named: dict[str, list[Fitted]] = {}
    for fitted in results:
        model, group = fitted.job.model, fitted.job.group
        named.setdefault(f"{model}@{group}" if several_groups else model, []).append(fitted)
    for name, folds in named.items():
        for fitted in folds:
            save_model(run, _model_file(name, fitted.job.fold, len(folds)), fitted.pipeline)
    _write_search(run, named)
    if len(rounds) == 1:
        write_novelties(run, table, {fitted.job.group for fitted in results}, rounds[0].fit)
    predictions = _collect_predictions(run, table, named)
    write_predictions(run, "test", predictions)
    scores = score_models(predictions, seed)
    found = {"models": {name: scores[name] | _describe(name, folds) for name, folds in named.items()}}
    write_metrics(run, found)
    return found


def _model_file(name: str, fold: int, folds: int) -> str:
    name = name.replace("/", "-")  # in a feature group
    return storage.join(MODELS_FOLDER, f"{name}.skops" if folds == 1 else f"{name}-fold{fold + 1}.skops")


def _write_search(run: str, named: dict[str, list[Fitted]]) -> None:
    """Write search.csv: a row for each candidate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "fold", "params", "accuracy", "log_loss", "temperature", "converged", "chosen"))
    for name, folds in named.items():
        for fitted in folds:
            for trial in fitted.trials:
                numbers = (f"{trial.accuracy:.6g}", f"{trial.log_loss:.6g}", f"{trial.temperature:.6g}")
                state = (int(trial.converged), int(trial is fitted.chosen))
                writer.writerow((name, fitted.job.fold + 1, json.dumps(trial.params), *numbers, *state))
    storage.write_bytes(storage.join(run, SEARCH), text.getvalue().encode())


def _collect_predictions(run: str, table: Table, named: dict[str, list[Fitted]]) -> RunPredictions:
    jobs = [fitted.job for fitted in next(iter(named.values()))]
    rows = np.concatenate([job.test for job in jobs])
    order = np.argsort(rows)
    fold = np.repeat([job.fold for job in jobs], [len(job.test) for job in jobs])
    values = {
        name: np.concatenate([log_probabilities(f.scores, f.chosen.temperature) for f in folds])[order]
        for name, folds in named.items()
    }
    rows = rows[order]
    novelty = measure_novelty(run, {name: folds[0].job.group for name, folds in named.items()}, table.take(rows))
    return RunPredictions(table.track_ids[rows], table.labels[rows], table.genres, values, fold[order], novelty)


def _describe(name: str, folds: Sequence[Fitted]) -> dict[str, Any]:
    """Return how a model was fitted, for metrics.json; `fits` has an entry for each round."""
    job = folds[0].job
    return {
        "model": job.model,
        "features_group": job.group,
        "probabilities": PROBABILITIES[MODELS[job.model].scores],
        "fits": [
            {
                "file": _model_file(name, fitted.job.fold, len(folds)),
                "rows": len(fitted.job.fit),
                "params": fitted.chosen.params,
                # Numbers that the classifier sees: the columns, or the principal components that are kept.
                "components": int(fitted.pipeline.named_steps["classifier"].n_features_in_),
                "temperature": fitted.chosen.temperature,
                # on which the parameters were chosen, and the temperature fitted: the validation split or folds
                "folds": len(fitted.job.tuning),
                "validation": {
                    "accuracy": fitted.chosen.accuracy,
                    "log_loss": fitted.chosen.log_loss,
                    "tracks": sum(len(scored) for _, scored in fitted.job.tuning),
                },
            }
            for fitted in folds
        ],
    }
