"""Late fusion: a multinomial logistic regression for each block of columns, and the mean of their log-probabilities.

The softmax does not see what all of a row's scores have in common, so the mean of the log-probabilities is, up to a
constant of the row, the mean of the regressions' scores. That is one linear function of all columns, and it is stored,
served and exported as such: a pipeline of a scaler and a logistic regression.

Each block is standardised and divided by the square root of its number of columns, so that the penalty weighs alike on
a block of 4 columns and on one of 1,152, and a block has one vote however wide it is.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.classical.table import EMBEDDING
from trainers.encoders.audioset import FIRST, MUSIC, find_classes

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

YAMNET, MOBILENET_V2 = f"{EMBEDDING}yamnet", f"{EMBEDDING}mobilenet_v2"
FEATURES = (YAMNET, MOBILENET_V2)
"""The kinds that the fusion is made of, unless others are given."""

COST = 10.0
MOST_ITERATIONS = 2000
GENRES = "genre names"
"""The block of YAMNet's logits of the genres themselves."""

_LOGITS = f"{YAMNET}/logits/mean"
_RECIPES = {
    YAMNET: {f"{_LOGITS}/{index:04d}" for index in range(FIRST, FIRST + len(MUSIC))},
    MOBILENET_V2: {f"{MOBILENET_V2}/block_6", f"{MOBILENET_V2}/block_9"},
}
"""Columns, or what stands before `/mean/` and `/deviation/` in their names, that are taken of an encoder's; of other
encoders all are."""

Blocks = Mapping[str, np.ndarray]
"""By name, the numbers of the columns, int64."""


def find_blocks(columns: Sequence[str], genres: Sequence[str]) -> Blocks:
    """Return the blocks of a table's columns: one for each kind of features, named as its kind.

    Of YAMNet, the logits of AudioSet's music classes; of MobileNetV2, blocks 6 and 9; of others all columns. Where
    every genre is one of AudioSet's classes by its name, the logits of these are one more.
    """
    kinds = [_kind_of(column) for column in columns]
    found = {}
    for kind in dict.fromkeys(kinds):
        own = [at for at, of in enumerate(kinds) if of == kind]
        recipe = _RECIPES.get(kind, set())
        chosen = [at for at in own if columns[at] in recipe or columns[at].rsplit("/", 2)[0] in recipe]
        found[kind.removeprefix(EMBEDDING)] = np.array(chosen or own)
    places = {column: at for at, column in enumerate(columns)}
    classes = [places.get(f"{_LOGITS}/{index:04d}", -1) for index in find_classes(genres) or [-1]]
    return found | ({GENRES: np.array(classes)} if min(classes) >= 0 else {})


def _kind_of(column: str) -> str:
    """Return embedding/NAME, or the name of the other kinds together: FMA's statistics have no name of their own."""
    if column.startswith(EMBEDDING):
        return "/".join(column.split("/")[:2])
    return "theory" if column.startswith("theory/") else "statistics"


def fit_fusion(blocks: Blocks, cost: float, values: np.ndarray, labels: np.ndarray) -> "Pipeline":
    """Fit a regression for each block, and return their fusion.

    Args:
      blocks: of `find_blocks`.
      cost: C of scikit-learn: the inverse of the penalty's weight.
      values: float32 [rows, columns].
      labels: int64 [rows].
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scale = ColumnTransformer([(name, StandardScaler(), columns) for name, columns in blocks.items()])
    scaled, at = scale.fit_transform(values), 0
    weights, intercepts = [], []
    for columns in blocks.values():
        factor = 1 / np.sqrt(len(columns))
        member = LogisticRegression(C=cost, max_iter=MOST_ITERATIONS)
        member.fit(scaled[:, at : at + len(columns)] * np.float32(factor), labels)
        weights.append(member.coef_ * factor / len(blocks))
        intercepts.append(member.intercept_ / len(blocks))
        at += len(columns)
    classifier = LogisticRegression(C=cost)
    classifier.classes_, classifier.n_features_in_ = member.classes_, at
    classifier.coef_, classifier.intercept_ = np.concatenate(weights, axis=1), np.sum(intercepts, axis=0)
    return Pipeline([("scale", scale), ("classifier", classifier)])
