"""Doubt: how unlike all that a run was trained on a song is, by the features that the run's models see.

A track's distance is that of Mahalanobis to the mean of the training tracks, as proposed for networks' features by Lee
et al. (2018, arXiv 1807.03888), along the principal components of their standardised features (Hotelling's T squared).
The limit comes from tracks that these were not fitted to: by split conformal prediction (Vovk et al., 2005), a track of
the same kind of music lies beyond it with a probability of at most `FALSE_ALARMS`, or of 1 / (tracks + 1) where that
is more.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from trainers.runs.files import open_zip, write_zip
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP

FOLDER = "novelty"
UNLIKE = "unlike the music this model was trained on"

FALSE_ALARMS = 0.04  # less finds fewer of the foreign sounds in docs/doubt.md
LEAST_TRACKS = 20  # held out; with fewer, no limit has a false alarm in less than one track of twenty
FOLDS = 5
AXES = 64
MOST_TRACKS = 10_000  # that are fitted to; a sample of more says no more
FARTHEST = 10.0  # of a standardised feature, in deviations: some statistics have outliers in any music


@dataclass(frozen=True, eq=False)
class Novelty:
    """The training tracks' features, in short, and how far from them other tracks of such music lie at most."""

    columns: np.ndarray  # int64 [d], of the features: those that count
    mean: np.ndarray  # float32 [d], of these columns
    scale: np.ndarray  # float32 [d], the inverse of the standard deviation; 0 where a column does not vary
    axes: np.ndarray  # float32 [k, d], of standardised columns
    deviations: np.ndarray  # float32 [k], along the axes
    limit: float  # of the distance
    tracks: int  # held-out tracks that the limit comes from

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of features [n, all columns], float64 [n]; that of a typical training track is 1."""
        values = _standardise(features[:, self.columns], self.mean, self.scale)
        return np.sqrt(np.square(values @ self.axes.T / self.deviations).mean(axis=1))

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return how novel tracks are, float64 [n]: their distance, where 1 is the limit."""
        return self.distance(features) / self.limit


def _standardise(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip((np.asarray(features, np.float64) - mean) * scale, -FARTHEST, FARTHEST)


def fit_on_split(training: np.ndarray, held_out: np.ndarray) -> Novelty | None:
    """Fit to the features of the training tracks, [n, d]; the limit comes from held-out tracks, [m, d].

    Return None where those are too few.
    """
    if len(held_out) < LEAST_TRACKS:
        return None
    found = _fit(training)
    return _limited(found, found.distance(held_out))


def fit_on_folds(features: np.ndarray, groups: np.ndarray, columns: np.ndarray | None = None) -> Novelty | None:
    """Fit to columns (default: all) of the training tracks' features, [n, d]; the limit comes from folds of them.

    No group, int [n], is in two folds: tracks of one artist. Return None where there are too few tracks, or one group.
    """
    from sklearn.model_selection import GroupKFold

    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 2 or len(features) < LEAST_TRACKS:
        return None
    rows = _sample(len(features))
    features, groups = features[rows], groups[rows]
    pairs = GroupKFold(folds).split(features, groups=groups)
    distances = [_fit(features[others], columns).distance(features[fold]) for others, fold in pairs]
    return _limited(_fit(features, columns), np.concatenate(distances))


def _sample(count: int) -> np.ndarray:
    """Return the rows that are fitted to, evenly spread over all, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_TRACKS)).round().astype(np.int64))


def _fit(features: np.ndarray, columns: np.ndarray | None = None) -> Novelty:
    from sklearn.decomposition import PCA

    columns = np.arange(features.shape[1]) if columns is None else columns
    features = np.asarray(features[_sample(len(features))][:, columns], np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    varies = deviation > 1e-6 * np.maximum(1.0, np.abs(mean))
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
    values = _standardise(features, mean, scale)
    wanted = min(AXES, len(features) // 4, values.shape[1] // 2)
    pca = PCA(max(1, wanted), svd_solver="covariance_eigh" if len(values) > values.shape[1] else "full").fit(values)
    arrays = mean, scale, pca.components_, np.sqrt(np.maximum(pca.explained_variance_, 1e-12))
    mean, scale, axes, deviations = (array.astype(np.float32) for array in arrays)
    return Novelty(columns, mean, scale, axes, deviations, limit=1.0, tracks=0)


def _limited(found: Novelty, distances: np.ndarray) -> Novelty:
    """Return it with the limit of split conformal prediction; `distances` are those of tracks that it has not seen."""
    count = len(distances)
    rank = min(count, math.ceil((count + 1) * (1 - FALSE_ALARMS)))
    return replace(found, limit=float(np.sort(distances)[rank - 1]), tracks=count)


def write_novelty(run: str, name: str, novelty: Novelty) -> None:
    """Write that of a model or a feature group to a run; equal ones give equal bytes."""
    arrays = {field.name: np.asarray(getattr(novelty, field.name)) for field in fields(novelty)}
    write_zip(run, file_of(name), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def read_novelty(run: str, name: str) -> Novelty | None:
    """Read what `write_novelty` wrote; None where the run has none, as those of earlier versions.

    Raises:
      FmaError: the file is damaged.
    """
    file = file_of(name)
    path, advice = storage.join(run, file), "remove it, and nothing is said of songs unlike the run's music"
    if not storage.exists(path):
        return None
    with open_zip(run, file, advice) as opened:
        try:
            with np.load(opened, allow_pickle=False) as arrays:
                values = {field.name: arrays[field.name] for field in fields(Novelty)}
                return Novelty(**values | {"limit": float(values["limit"]), "tracks": int(values["tracks"])})
        except DAMAGED_ZIP as error:
            raise FmaError(f"{path} is damaged ({error}): {advice}") from error


def file_of(name: str) -> str:
    """Return the file, relative to the run, of a model or a feature group."""
    return f"{FOLDER}/{name.replace('/', '-')}.npz"


def is_unlike(novelty: float | None) -> bool:
    """Return whether so novel a song is unlike the music that the model was trained on; not where that is not known."""
    return novelty is not None and novelty > 1


def measure_model(name: str, novelty: Novelty | None, features: np.ndarray) -> dict[str, np.ndarray]:
    """Return how novel tracks are for a model, {its name: float32 [n]}; {} where that is not known."""
    return {} if novelty is None else {name: novelty.of(features).astype(np.float32)}


def novelty_of(novelty: Novelty | None, features: np.ndarray) -> float | None:
    """Return how novel a song with these features, [d], is; None where that is not known."""
    return None if novelty is None else float(novelty.of(features[None])[0])
