"""Models that give each track many genres, on the same test tracks and genres."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trainers.evaluation.multilabel import measure
from trainers.report.collect import ModelOfRun, Run, common_tracks, model_names, rows_of, unlike_rows
from trainers.runs.genre_predictions import GenrePredictions
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.taxonomy import Taxonomy


@dataclass(frozen=True)
class Confusions:
    """Counts of tracks by pair of genres, int64 [genre that they have, genre that they lack].

    A genre that is above another one is lacked by none of its tracks.
    """

    lacking: np.ndarray  # tracks that have the one and lack the other
    called: np.ndarray  # those of them for which the other is predicted
    instead: np.ndarray  # those of these for which the one is not predicted

    @classmethod
    def of(cls, truth: np.ndarray, predicted: np.ndarray) -> "Confusions":
        """Count; both are bool [tracks, genres]."""
        wrong = predicted & ~truth
        return cls(count_both(truth, ~truth), count_both(truth, wrong), count_both(truth & ~predicted, wrong))


def count_both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Count tracks by pair of a column of the one and a column of the other; float32 is exact below 2^24 tracks."""
    return np.rint(one.astype(np.float32).T @ other.astype(np.float32)).astype(np.int64)


@dataclass(frozen=True)
class GenreModel(ModelOfRun):
    """A model's predictions for the common tracks and genres."""

    truth: np.ndarray  # bool [tracks, genres], ancestors included
    probabilities: np.ndarray  # float32 [tracks, genres]
    thresholds: np.ndarray  # float64 [genres]
    scores: dict[str, Any]  # see `multilabel.evaluate`
    resamples: np.ndarray  # float [resamples], map_macro of resampled tracks, the same ones for all models

    @cached_property
    def predicted(self) -> np.ndarray:
        """Return which genres are predicted, those at their thresholds: bool [tracks, genres]."""
        return self.probabilities >= self.thresholds

    @cached_property
    def confusions(self) -> Confusions:
        """Return which genres are predicted for tracks that lack them."""
        return Confusions.of(self.truth, self.predicted)


@dataclass(frozen=True)
class GenreComparison:
    """Models with many genres for each track, on the same tracks and genres."""

    runs: list[Run[GenrePredictions]]  # in the order given
    genres: list[str]  # those that all models know
    unknown: list[str]  # those that only some of them know
    taxonomy: Taxonomy  # of the genres
    track_id: np.ndarray  # int64 [tracks], ascending
    truth: np.ndarray  # bool [tracks, genres], ancestors included
    models: list[GenreModel]  # the best first, by mean average precision over the genres

    @cached_property
    def support(self) -> dict[str, int]:
        """Return the number of tracks of each genre."""
        return dict(zip(self.genres, self.truth.sum(axis=0).tolist(), strict=True))

    @cached_property
    def tops(self) -> list[str]:
        """Return the genres at the top of the trees that have tracks, the most common first."""
        return [name for name in self.below("") if self.support[name]]

    def below(self, name: str) -> list[str]:
        """Return the genres right below one, the most common first; below "": those at the top."""
        return sorted(self.taxonomy.children(name), key=lambda child: (-self.support[child], child))

    def path(self, name: str) -> str:
        """Return a genre with those above it, such as `Rock › Punk`."""
        return " › ".join(reversed(self.taxonomy.line(name)))

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Return the genres' columns, int [names]."""
        return np.array([self.genres.index(name) for name in names], np.int64)


def compare_genres(runs: list[Run[GenrePredictions]]) -> GenreComparison:
    """Reduce the models of all runs to the tracks and genres that all of them have.

    Raises:
      UsageError: runs of different datasets have different test tracks, there is no common track or genre, a genre has
        different parents, or a track different genres, in two runs.
    """
    track_id = common_tracks(runs)
    known = [run.predictions.genres for run in runs]
    genres = [name for name in known[0] if all(name in other for other in known)]
    unknown = sorted({name for names in known for name in names} - set(genres))
    if not genres:
        raise UsageError("the runs have no genre in common: compare runs of one dataset")
    if unknown:
        console.log(
            f"{console.counted(len(unknown), 'genre')} that not all runs know: compared on the other {len(genres)}"
        )
    taxonomy = _common_taxonomy(runs, genres)
    rows = [rows_of(run, track_id) for run in runs]
    columns = [np.array([names.index(name) for name in genres]) for names in known]
    truths = [run.predictions.truth[np.ix_(*at)] for run, *at in zip(runs, rows, columns, strict=True)]
    for run, truth in zip(runs[1:], truths[1:], strict=True):
        for row, column in np.argwhere(truth != truths[0])[:1]:
            raise UsageError(
                f"track {track_id[row]} is {genres[column]} in only one of {runs[0].path} and {run.path}: compare runs "
                "of one dataset"
            )
    models = _measure_models(runs, genres, taxonomy, truths[0], list(zip(rows, columns, strict=True)))
    models.sort(key=lambda model: (-model.scores["map_macro"], model.name))
    return GenreComparison(runs, genres, unknown, taxonomy, track_id, truths[0], models)


def _common_taxonomy(runs: list[Run[GenrePredictions]], genres: list[str]) -> Taxonomy:
    first = runs[0].config.taxonomy
    for run in runs[1:]:
        other = run.config.taxonomy
        for name in genres:
            if first.line(name) != other.line(name):
                one, two = (" below ".join(found.line(name)) for found in (first, other))
                raise UsageError(f"{runs[0].path} has {one}, {run.path} {two}: compare runs of one dataset")
    return Taxonomy({name: (*first.line(name), "")[1] for name in genres})


def _measure_models(
    runs: list[Run[GenrePredictions]],
    genres: list[str],
    taxonomy: Taxonomy,
    truth: np.ndarray,
    places: list[tuple[np.ndarray, np.ndarray]],
) -> list[GenreModel]:
    """Score every model; `places` are the rows and columns of each run that `truth` [tracks, genres] is of."""
    names, models = iter(model_names(runs)), []
    with console.progress("score", sum(len(run.predictions.models) for run in runs), "models") as progress:
        for run, (rows, columns) in zip(runs, places, strict=True):
            found = run.predictions
            for key in found.models:
                probabilities = found.probabilities[key][np.ix_(rows, columns)]
                thresholds, prior = found.thresholds[key][columns], found.prior[columns]
                measured = measure(probabilities, truth, genres, taxonomy, thresholds=thresholds, prior=prior)
                scores, resamples = measured.metrics, measured.resamples["map_macro"]
                of_run = next(names), run, key, unlike_rows(run, key, rows)
                models.append(GenreModel(*of_run, truth, probabilities, thresholds, scores, resamples))
                progress.advance()
    return models
