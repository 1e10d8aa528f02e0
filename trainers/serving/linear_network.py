"""A linear model on embeddings as one network with its encoders, for exports. Imports TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from trainers.classical.features import encoder_name
from trainers.serving.classical import ClassicalScorer, OfOneLabel
from trainers.serving.encoders import build

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

IMPOSSIBLE = -1e4
"""The score of a genre that no fitted track had."""


def is_linear(scorer: ClassicalScorer) -> bool:
    """Return whether a model is a linear function of embeddings alone, for one label."""
    from sklearn.linear_model import LogisticRegression

    model = scorer.model
    on_embeddings = all(encoder_name(feature) for feature in scorer.of_tracks.features)
    return on_embeddings and isinstance(model, OfOneLabel) and isinstance(model.pipeline[-1], LogisticRegression)


@dataclass(frozen=True, eq=False)
class Linear:
    """Steps of a fitted pipeline as arrays, float32."""

    columns: np.ndarray  # int64 [k], that it takes of a row
    shift: np.ndarray  # [k]
    scale: np.ndarray  # [k]
    axes: np.ndarray | None  # [k, m], principal axes
    origin: np.ndarray | None  # [k], what is subtracted before the projection
    weights: np.ndarray  # [k or m, genres]
    intercept: np.ndarray  # [genres]

    @classmethod
    def of(cls, pipeline: "Pipeline", columns: np.ndarray, classes: int, temperature: float) -> "Linear":
        """Take a pipeline apart, whose columns are those of a row; its scores are divided by the temperature."""
        scale, classifier = pipeline[0], pipeline[-1]
        if hasattr(scale, "transformers_"):  # a fusion's scaler of each block
            parts = [(step, np.asarray(of)) for _, step, of in scale.transformers_ if step != "drop"]
        else:
            parts = [(scale, np.arange(len(columns)))]
        pca = pipeline.named_steps.get("pca", "passthrough")
        projects = pca != "passthrough"
        weights, intercept = classifier.coef_.T, classifier.intercept_
        if len(classifier.classes_) == 2:
            weights, intercept = np.hstack([0 * weights, weights]), np.append(0 * intercept, intercept)
        of_all = np.zeros((len(weights), classes)), np.full(classes, IMPOSSIBLE)
        of_all[0][:, classifier.classes_], of_all[1][classifier.classes_] = weights, intercept
        return cls(
            columns[np.concatenate([of for _, of in parts])],
            np.concatenate([step.mean_ for step, _ in parts]).astype(np.float32),
            np.concatenate([step.scale_ for step, _ in parts]).astype(np.float32),
            pca.components_.T.astype(np.float32) if projects else None,
            pca.mean_.astype(np.float32) if projects else None,
            (of_all[0] / temperature).astype(np.float32),
            (of_all[1] / temperature).astype(np.float32),
        )

    def features(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the classifier's own input [b, k or m] of rows [b, columns]."""
        values = (tf.gather(rows, self.columns, axis=1) - self.shift) / self.scale
        return values if self.axes is None else tf.linalg.matmul(values - self.origin, self.axes)

    def logits(self, rows: tf.Tensor) -> tf.Tensor:
        """Return logits [b, genres] of rows [b, columns]."""
        return tf.linalg.matmul(self.features(rows), self.weights) + self.intercept


class LinearNetwork:
    """Encoders, moments over a song, and a linear model; see `Graph`."""

    pooled = True

    def __init__(self, run: str, scorer: ClassicalScorer):
        features, model = scorer.of_tracks, scorer.model
        assert isinstance(model, OfOneLabel)
        self._order = list(features.encoders)  # of a row's columns
        self._facts, self._kinds = features.encoders, features.kinds
        files = features.opening.files
        self._encoders = {name: build(run, facts, scorer.config, files) for name, facts in features.encoders.items()}
        self._linear = Linear.of(model.pipeline, scorer.columns, model.classes, model.temperature)
        self.variables = [variable for encoder in self._encoders.values() for variable in encoder.variables]
        self.width = 2 * sum(facts.dimensions for facts in self._facts.values())

    def in_float32(self) -> "LinearNetwork":
        """Return itself: it computes in float32."""
        return self

    def _of_kind(self, kind: str) -> list[str]:
        return [name for name in self._order if self._facts[name].reads == kind]

    def of_kind(self, kind: str, records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `features` [b, d] of windows as they are stored: what is averaged over a song."""
        moments = [self._encoders[name].moments(records, tf.float32) for name in self._of_kind(kind)]
        return {"features": tf.concat(moments, axis=1)}

    def of_kinds(self, payloads: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits [b, genres] of each window as if it were a song, and features [b, width]."""
        features = tf.concat([self.of_kind(kind, payloads[kind])["features"] for kind in self._kinds], axis=1)
        return self.head(features), features

    def head(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits float32 [b, genres] of features [b, width]."""
        return self._linear.logits(self._rows(features))

    def embedding(self, features: tf.Tensor) -> tf.Tensor:
        """Return what songs are compared by, float32 [b, e]."""
        return self._linear.features(self._rows(features))

    def _rows(self, features: tf.Tensor) -> tf.Tensor:
        """Return the table's rows, float32 [b, columns]: means and deviations of each encoder in the table's order."""
        names = [name for kind in self._kinds for name in self._of_kind(kind)]
        parts = tf.split(features, [2 * self._facts[name].dimensions for name in names], axis=1)
        found = dict(zip(names, map(_to_deviations, parts), strict=True))
        return tf.concat([found[name] for name in self._order], axis=1)


def _to_deviations(moments: tf.Tensor) -> tf.Tensor:
    mean, square = tf.split(moments, 2, axis=1)
    return tf.concat([mean, tf.sqrt(tf.maximum(square - tf.square(mean), 0))], axis=1)
