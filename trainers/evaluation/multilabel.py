"""Metrics of models that give each track many genres, by track, with intervals; thresholds; and the tree of genres."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.evaluation.metrics import CALIBRATION_BINS, check_numbers
from transforms.errors import FmaError
from transforms.taxonomy import Taxonomy

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

RESAMPLES = 500  # of the bootstrap
THRESHOLD = 0.5  # of all genres, where no track of the validation split has any

RANKING = ("map_macro", "map_micro", "roc_auc_macro", "roc_auc_micro")
"""Metrics that need no thresholds."""

_CELLS = 1 << 23  # of the arrays that resamples are computed in


def ancestors(genres: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
    """Return bool [genres, genres]: whether the second genre is the first one or above it in the tree."""
    lines = [set(taxonomy.line(name)) for name in genres]
    return np.array([[name in line for name in genres] for line in lines], bool).reshape(len(genres), len(genres))


def keep_consistent(values: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Raise each genre's value to the highest of the genres below it, so that no child is above its parent.

    It is the constraint of "Coherent hierarchical multi-label classification networks" (Giunchiglia and Lukasiewicz,
    2020).

    Args:
      values: [tracks, genres], probabilities or logits.
      above: as `ancestors` returns it.
    """
    return np.stack([values[:, above[:, genre]].max(axis=1) for genre in range(values.shape[1])], axis=1)


def choose_thresholds(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return for each genre the threshold with the highest F1; give it validation tracks, never those of the test.

    A genre without a track takes the threshold with the highest F1 over all genres together.

    Args:
      probabilities: float [tracks, genres].
      truth: bool [tracks, genres].

    Returns:
      float64 [genres]; a genre is predicted where its probability is at least that.
    """
    common = _best_threshold(probabilities.ravel(), truth.ravel()) if truth.any() else THRESHOLD
    columns = zip(probabilities.T, truth.T, strict=True)
    return np.array([_best_threshold(values, found) if found.any() else common for values, found in columns])


def _best_threshold(values: np.ndarray, truth: np.ndarray) -> float:
    ranked = _Ranked.of(values, truth, np.arange(len(values)))
    right, predicted = ranked.count(np.ones((len(values), 1)))
    end = ranked.ends[int(np.argmax(2 * right[:, 0] / (predicted[:, 0] + truth.sum())))]
    falling = -np.sort(-values.astype(np.float64))
    below = falling[end + 1] if end + 1 < len(falling) else 0.0
    return float((falling[end] + below) / 2)


@dataclass(frozen=True)
class _Ranked:
    """Examples by falling score, in steps: a step is a score of right examples, or all scores between two such.

    What matters of a resample is how often it holds each track, so a step is a row of a sparse matrix of its tracks.
    """

    ends: np.ndarray  # int [steps], the last place of each step
    right: "csr_matrix"  # [steps, tracks], right examples of each track
    every: "csr_matrix"  # [steps, tracks], all examples of each track

    @classmethod
    def of(cls, values: np.ndarray, truth: np.ndarray, track: np.ndarray) -> "_Ranked":
        """Rank examples of those values, truths and tracks: [examples] each."""
        from scipy.sparse import csr_matrix

        order = np.argsort(-values, kind="stable")
        found, of = truth[order], track[order]
        score = np.cumsum(np.diff(values[order], prepend=values[order[0]]) != 0)
        has_right = (np.bincount(score, found) > 0)[score]
        new = np.diff(score, prepend=-1) != 0
        step = np.cumsum(new & (has_right | ~np.concatenate([[False], ~has_right[:-1]]))) - 1
        shape = step[-1] + 1, int(track.max()) + 1
        ends = np.append(np.flatnonzero(np.diff(step)), len(order) - 1)
        right = csr_matrix((np.ones(int(found.sum())), (step[found], of[found])), shape)
        return cls(ends, right, csr_matrix((np.ones(len(order)), (step, of)), shape))

    def count(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of right and of all examples down to each step: float [steps, resamples] each.

        `weights` is [tracks, resamples]: how often a resample holds a track.
        """
        return np.cumsum(self.right @ weights, axis=0), np.cumsum(self.every @ weights, axis=0)


def _rank(ranked: _Ranked, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return average precision and area under the ROC curve, float [resamples]; NaN where a resample has no example."""
    right, predicted = ranked.count(weights)
    wrong = predicted - right
    positive, negative = right[-1], wrong[-1]
    gained = np.diff(right, axis=0, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(gained > 0, right / predicted, 0.0)
        area = (np.diff(wrong, axis=0, prepend=0) * (right - gained / 2)).sum(axis=0)
        return (gained * precision).sum(axis=0) / positive, area / (positive * negative)


def average_precision(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the average precision, sum over scores of (recall - recall before) * precision; NaN without a positive.

    Args:
      values: float [n], scores; equal ones are taken together.
      truth: bool [n].
    """
    return float(_rank(_Ranked.of(values, truth, np.arange(len(values))), np.ones((len(values), 1)))[0][0])


@dataclass(frozen=True)
class Measured:
    """What `evaluate` measures."""

    metrics: dict[str, Any]  # as `evaluate` returns them
    resamples: dict[str, np.ndarray]  # {metric with an interval: float [RESAMPLES]}, that of each resample


def evaluate(
    probabilities: np.ndarray,
    truth: np.ndarray,
    genres: Sequence[str],
    taxonomy: Taxonomy,
    *,
    thresholds: np.ndarray,
    prior: np.ndarray,
    seed: int = 0,
) -> dict[str, Any]:
    """Return all metrics of an evaluation by track, ready for json.dumps.

    Args:
      probabilities: float [tracks, genres].
      truth: bool [tracks, genres], ancestors included.
      genres: their names.
      taxonomy: their tree.
      thresholds: float [genres]; see `choose_thresholds`.
      prior: float [genres], each genre's share of the training tracks: what a model knows that hears nothing.
      seed: of the bootstrap.

    Returns:
      map_macro, map_micro: mean of the genres' average precisions, and that of all pairs of track and genre together;
      roc_auc_macro, roc_auc_micro: areas under the ROC curve, in the same way; None where all tracks have all genres;
      f1_macro, f1_micro: at the thresholds;
      hierarchical_f1: of the predicted genres with their ancestors (Kiritchenko et al., 2005);
      lrap: label-ranking average precision, of the tracks that have a genre;
      calibration_error: over all pairs, in 15 bins of probability, the mean of |share of true pairs - mean
        probability|, weighted by the pairs in the bin;
      interval: {each of the above: [low, high]}, 95%, of a bootstrap that draws tracks; see `interval`;
      prior: {each of the first four: that of `prior`};
      per_genre: {genre: {support, average_precision, roc_auc, precision, recall, f1, threshold}};
      left_out: genres without a track in the split, which the macro means leave out;
      tracks: how many there are.

    Raises:
      FmaError: a probability is not a number, or no track has any of the genres.
    """
    return measure(probabilities, truth, genres, taxonomy, thresholds=thresholds, prior=prior, seed=seed).metrics


def measure(
    probabilities: np.ndarray,
    truth: np.ndarray,
    genres: Sequence[str],
    taxonomy: Taxonomy,
    *,
    thresholds: np.ndarray,
    prior: np.ndarray,
    seed: int = 0,
) -> Measured:
    """Do what `evaluate` does, and keep the resamples.

    With one seed, all models on the same tracks have the same resamples, so that their differences are paired.
    """
    probabilities = np.asarray(probabilities, np.float64)
    check_numbers(probabilities)
    if not truth.any():
        raise FmaError(f"none of the tracks has one of the {len(genres)} genres that the model knows")
    scored = _Scored.of(probabilities, truth, thresholds, ancestors(genres, taxonomy))
    whole = scored.metrics(np.ones((len(truth), 1)))
    resampled = _resample(scored, seed)
    guess = _Scored.of(np.tile(prior, (len(truth), 1)), truth, thresholds, scored.above)
    guessed = guess.metrics(np.ones((len(truth), 1)))
    metrics = {
        **{name: _number(values[0]) for name, values in whole.items()},
        "interval": {name: interval(whole[name][0], values, 0.0, 1.0) for name, values in resampled.items()},
        "prior": {name: _number(guessed[name][0]) for name in RANKING},
        "per_genre": scored.per_genre(genres, thresholds),
        "left_out": [name for at, name in enumerate(genres) if not truth[:, at].any()],
        "tracks": len(truth),
    }
    return Measured(metrics, resampled)


def _resample(scored: "_Scored", seed: int) -> dict[str, np.ndarray]:
    """Return each metric of `RESAMPLES` resamples, float [resamples]."""
    rng = np.random.default_rng(seed)
    count = len(scored.truth)
    at_once = max(1, _CELLS // max(count, len(scored.pairs.ends)))
    parts = []
    for start in range(0, RESAMPLES, at_once):
        drawn = rng.integers(0, count, (min(at_once, RESAMPLES - start), count))
        parts.append(scored.metrics(np.stack([np.bincount(tracks, minlength=count) for tracks in drawn], axis=1)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class _Scored:
    """What resamples are computed from: everything that does not depend on how often a track is drawn."""

    probabilities: np.ndarray  # float [tracks, genres]
    truth: np.ndarray  # bool [tracks, genres]
    predicted: np.ndarray  # bool [tracks, genres], at the thresholds
    above: np.ndarray  # as `ancestors`
    by_genre: list[_Ranked]  # of the genres that a track has, in their order
    pairs: _Ranked  # of all tracks and genres together
    lrap: np.ndarray  # float [tracks]; NaN for a track without a genre

    @classmethod
    def of(cls, probabilities: np.ndarray, truth: np.ndarray, thresholds: np.ndarray, above: np.ndarray) -> "_Scored":
        tracks, present = np.arange(len(truth)), np.flatnonzero(truth.any(axis=0))
        return cls(
            probabilities,
            truth,
            probabilities >= thresholds,
            above,
            [_Ranked.of(probabilities[:, genre], truth[:, genre], tracks) for genre in present],
            _Ranked.of(probabilities.ravel(), truth.ravel(), np.repeat(tracks, truth.shape[1])),
            _label_ranking(probabilities, truth),
        )

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric, float [resamples], of resamples that hold each track so often: [tracks, resamples]."""
        weights = weights.astype(np.float64)
        macro = _mean(np.array([_rank(ranked, weights) for ranked in self.by_genre]))
        micro = _rank(self.pairs, weights)
        present = self.truth.any(axis=0)
        hits, predicted, true = (part.T @ weights for part in self._parts(self.predicted, self.truth))
        with_ancestors = self._parts(self.predicted @ self.above, self.truth @ self.above)
        closed = [part.sum(axis=1) @ weights for part in with_ancestors]
        ranked = ~np.isnan(self.lrap)
        with np.errstate(invalid="ignore"):  # a resample may hold no track that has a genre
            lrap = self.lrap[ranked] @ weights[ranked] / weights[ranked].sum(axis=0)
        return {
            "map_macro": macro[0],
            "map_micro": micro[0],
            "roc_auc_macro": macro[1],
            "roc_auc_micro": micro[1],
            "f1_macro": _f1(hits, predicted, true)[present].mean(axis=0),
            "f1_micro": _f1(hits.sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)),
            "hierarchical_f1": _f1(*closed),
            "lrap": lrap,
            "calibration_error": self._calibration(weights),
        }

    @staticmethod
    def _parts(predicted: np.ndarray, true: np.ndarray) -> Iterator[np.ndarray]:
        for part in (predicted & true, predicted, true):
            yield part.astype(np.float64)

    def _calibration(self, weights: np.ndarray) -> np.ndarray:
        bins = np.clip(np.ceil(self.probabilities * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
        gaps = self.truth - self.probabilities
        of_bins = [np.where(bins == i, gaps, 0.0).sum(axis=1) for i in range(CALIBRATION_BINS)]
        return np.abs(np.stack(of_bins) @ weights).sum(axis=0) / (weights.sum(axis=0) * self.truth.shape[1])

    def per_genre(self, genres: Sequence[str], thresholds: np.ndarray) -> dict[str, dict[str, Any]]:
        hits, predicted, true = (part.sum(axis=0) for part in self._parts(self.predicted, self.truth))
        ranked = iter(self.by_genre)
        once = np.ones((len(self.truth), 1))
        found = {}
        for at, name in enumerate(genres):
            precision, area = _rank(next(ranked), once) if true[at] else (None, None)
            found[name] = {
                "support": int(true[at]),
                "average_precision": None if precision is None else float(precision[0]),
                "roc_auc": None if area is None else _number(area[0]),
                "precision": float(hits[at] / max(1, predicted[at])),
                "recall": float(hits[at] / max(1, true[at])),
                "f1": float(2 * hits[at] / max(1, predicted[at] + true[at])),
                "threshold": float(thresholds[at]),
            }
        return found


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of the values that are numbers; NaN where none is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def interval(
    value: float, resampled: np.ndarray, lowest: float = -np.inf, highest: float = np.inf
) -> list[float] | None:
    """Return the 95% interval of a metric, or of a difference of two, from its resamples: percentiles around the value.

    They are moved by the distance of the resamples' mean from the value. A resample has tracks twice, which raises the
    average precision of rare genres, so that unmoved percentiles may lie above the value as a whole.

    Args:
      value: of the tracks as they are.
      resampled: float [resamples]; NaN where a resample has none.
      lowest, highest: what the metric can be.

    Returns:
      [low, high], or None where no resample has a value.
    """
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5]) - known.mean() + value
    return [float(max(lowest, low)), float(min(highest, high))]


def _f1(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 2 * hits / np.maximum(1, predicted + true)


def _label_ranking(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return for each track the mean over its genres of the share of true ones among those that rank as high."""
    from scipy.stats import rankdata

    among_all = rankdata(-values, "max", axis=1)
    among_true = rankdata(np.where(truth, -values, np.inf), "max", axis=1)
    shares = np.where(truth, among_true / among_all, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return shares / truth.sum(axis=1)
