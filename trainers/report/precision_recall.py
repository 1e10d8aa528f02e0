"""Precision and recall of each genre at every threshold, as curves, and the average precision that sums them up."""

from collections.abc import Sequence

import numpy as np

from trainers.evaluation.multilabel import average_precision
from trainers.report.collect import Comparison
from trainers.report.genre_models import GenreComparison
from trainers.report.html import (
    Frame,
    Html,
    axes,
    count,
    drawing,
    element,
    gallery,
    legend,
    line,
    paragraph,
    section,
)
from trainers.report.scores import score_table

SHOWN = 8  # genres whose curves are shown, the most common ones; those of further genres are folded
OTHERS = 5  # further models whose curves stand behind that of the best
POINTS = 100  # of a curve, at most
PANEL = (270.0, 220.0)


def curves_by_genre(comparison: Comparison) -> Html:
    """Return the section for models with one label for each track."""
    truth = comparison.label[:, None] == np.arange(len(comparison.genres))
    values = {model.name: model.log_probabilities for model in comparison.models}
    precisions = [_average_precisions(one, truth) for one in values.values()]
    table = score_table(comparison, "Average precision by genre", np.transpose(precisions), mean="mean")
    return _section("precision-recall", comparison.genres, truth, values, table)


def curves_by_top_genre(comparison: GenreComparison) -> Html:
    """Return the section for models with many genres: those at the top, for the tree has all of them."""
    at = comparison.columns(comparison.tops)
    values = {model.name: model.probabilities[:, at] for model in comparison.models}
    return _section("many-precision-recall", comparison.tops, comparison.truth[:, at], values, None)


def _section(
    anchor: str, genres: Sequence[str], truth: np.ndarray, values: dict[str, np.ndarray], table: Html | None
) -> Html:
    """Draw the curves of each genre that has tracks; `values` are scores [tracks, genres] by model, the best first."""
    support = truth.sum(axis=0)
    order = [at for at in np.argsort(-support, kind="stable").tolist() if support[at]]
    panels = [_panel(genres[at], truth[:, at], {name: found[:, at] for name, found in values.items()}) for at in order]
    best, *others = values
    keys = {"training": best} | ({"other": "other models"} if others else {}) | {"chance": "guessing"}
    return section(
        anchor,
        "Precision against recall",
        paragraph(
            "How much of a genre is found (recall, to the right), and how much of what is called so is of it "
            "(precision, upwards), from the strictest threshold to the loosest. The nearer to the upper right, the "
            "better; the average precision (AP) is the area below."
        ),
        legend(keys),
        gallery(panels, SHOWN, "small-multiples", noun="genre"),
        table,
    )


def _average_precisions(values: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the average precision of each column; NaN where it has no tracks."""
    return [
        average_precision(value, found) if found.any() else np.nan
        for value, found in zip(values.T, truth.T, strict=True)
    ]


def precision_recall(values: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision at each score as the threshold, from the highest down until all are found.

    Args:
      values: float [n], scores; equal ones are taken together.
      truth: bool [n], at least one of them true.

    Returns:
      float64 [scores] each.
    """
    order = np.argsort(-values, kind="stable")
    last = np.append(np.diff(values[order]) != 0, True)  # of each score's examples
    found, taken = np.cumsum(truth[order])[last], np.flatnonzero(last) + 1
    needed = int(np.argmax(found == truth.sum())) + 1
    return found[:needed] / truth.sum(), (found / taken)[:needed]


def _panel(genre: str, truth: np.ndarray, values: dict[str, np.ndarray]) -> Html:
    frame = Frame(*PANEL, (0.0, 1.0), (0.0, 1.0))
    quarters, share = [0.0, 0.25, 0.5, 0.75, 1.0], float(truth.mean())
    best, *others = list(values)[: OTHERS + 1]
    area = average_precision(values[best], truth)
    drawn = drawing(
        frame,
        f"precision against recall of {genre}; average precision of {best} {area:.2f}, of guessing {share:.2f}",
        axes(frame, quarters, quarters, "recall", shares=True),
        line(frame, [(0, share), (1, share)], "diagonal"),
        [_curve(frame, values[name], truth, "other") for name in reversed(others)],
        _curve(frame, values[best], truth, "training"),
    )
    title = element("figcaption", element("strong", genre), f" AP {area:.2f}, {count(int(truth.sum()), 'track')}")
    return element("figure", title, drawn)


def _curve(frame: Frame, values: np.ndarray, truth: np.ndarray, class_: str) -> Html:
    recall, precision = precision_recall(values, truth)
    kept = np.unique(np.linspace(0, len(recall) - 1, POINTS).round().astype(int))
    points = [(0.0, float(precision[0])), *zip(recall[kept].tolist(), precision[kept].tolist(), strict=True)]
    return line(frame, points, class_)
