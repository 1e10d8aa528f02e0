"""Doubt: how unlike all that a run was trained on a song is, by the features that the run's models see.

A track's distance is that of Mahalanobis to the mean of the training tracks, as proposed for networks' features by Lee
et al. (2018, arXiv 1807.03888), on standardised features. Of a table, it counts along the principal components alone
(Hotelling's T squared); of a network, with the covariance of probabilistic PCA (Tipping and Bishop, 1999), which also
counts what the components leave out: a network maps much that is foreign to it near the middle of its components.

The limit comes from tracks that these were not fitted to: a track of the same kind of music lies beyond it with a
probability of about `FALSE_ALARMS`, by split conformal prediction (Vovk et al., 2005). Of fewer than `MANY` tracks, it
would be one of the few farthest, and one odd track would decide: the limit is then that of a normal distribution of
the distances' logarithms, as the prediction interval for one more of them (Hahn, 1969).
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
LEAST_TRACKS = 20  # held out; with fewer, a limit says little
MANY = 100  # held-out tracks from which on the limit is one of their distances
FOLDS = 5
AXES = 64
MOST_TRACKS = 10_000  # that are fitted to; a sample of more says no more
LEAST_NOISE = 0.01  # of a standardised feature, in deviations; less is a matter of rounding
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
    noise: float = math.inf  # deviation of a standardised column beside the axes; infinite: that does not count

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of features [n, all columns], float64 [n]; that of a typical training track is 1."""
        values = _standardise(features[:, self.columns], self.mean, self.scale)
        along = values @ self.axes.T
        squares = np.square(along / self.deviations).sum(axis=1)
        if math.isinf(self.noise):
            return np.sqrt(squares / len(self.axes))
        return np.sqrt((squares + _left_out(values, along) / self.noise**2) / np.count_nonzero(self.scale))

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return how novel tracks are, float64 [n]: their distance, where 1 is the limit."""
        return self.distance(features) / self.limit


def _standardise(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip((np.asarray(features, np.float64) - mean) * scale, -FARTHEST, FARTHEST)


def _left_out(values: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return the squares, float64 [n], of what axes leave out of standardised features [n, d]; `along` is [n, k]."""
    return np.maximum(np.einsum("ij,ij->i", values, values) - np.square(along).sum(axis=1), 0)


def fit_on_split(training: np.ndarray, held_out: np.ndarray) -> Novelty | None:
    """Fit to a network's features of the training tracks, [n, d]; the limit comes from held-out tracks, [m, d].

    Return None where those are too few.
    """
    if len(held_out) < LEAST_TRACKS:
        return None
    found = _fit(training, noise=True)
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


def _fit(features: np.ndarray, columns: np.ndarray | None = None, *, noise: bool = False) -> Novelty:
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
    found = Novelty(columns, mean, scale, axes, deviations, limit=1.0, tracks=0)
    beside = int(varies.sum()) - len(axes)
    if noise and beside > 0:
        variance = _left_out(values, values @ axes.T).mean() / beside
        return replace(found, noise=max(LEAST_NOISE, math.sqrt(variance)))
    return found


def _limited(found: Novelty, distances: np.ndarray) -> Novelty:
    """Return it with its limit; `distances` are those of tracks that it has not seen."""
    count = len(distances)
    if count < MANY:
        limit = _prediction_limit(distances)
    else:
        limit = np.sort(distances)[math.ceil((count + 1) * (1 - FALSE_ALARMS)) - 1]
    return replace(found, limit=float(limit), tracks=count)


def _prediction_limit(distances: np.ndarray) -> float:
    """Return what one more distance exceeds with a probability of `FALSE_ALARMS`, if their logarithms are normal."""
    from scipy.special import stdtrit

    count, logarithms = len(distances), np.log(np.maximum(distances, np.finfo(np.float32).tiny))
    width = stdtrit(count - 1, 1 - FALSE_ALARMS) * math.sqrt(1 + 1 / count)
    return math.exp(logarithms.mean() + width * logarithms.std(ddof=1))


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
                values = {field.name: arrays[field.name] for field in fields(Novelty) if field.name != "noise"}
                values |= {"limit": float(values["limit"]), "tracks": int(values["tracks"])}
                # Before networks had it, there was none in the file.
                return Novelty(**values, noise=float(arrays.get("noise", math.inf)))
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
