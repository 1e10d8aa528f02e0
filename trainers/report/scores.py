"""Scores of each model: precision, recall and F1 by genre, confusion matrices, and calibration."""

from collections.abc import Sequence

import numpy as np

from trainers.evaluation.metrics import CALIBRATION_BINS
from trainers.report.collect import Comparison, Model
from trainers.report.html import (
    NONE,
    Frame,
    Html,
    axes,
    bullets,
    drawing,
    element,
    folded,
    fragment,
    gallery,
    heat_table,
    line,
    paragraph,
    score_cell,
    section,
    shaded,
    shades,
    table,
)
from trainers.report.novelty import unlike_training

SHOWN = 6  # models whose diagrams are shown; those of further models are folded
MANY = 8  # with more genres than this, one confusion matrix is shown, and columns are narrower
DIAGRAM = (270.0, 250.0)
NOTABLE = 0.05  # a mean confidence that is this far from the accuracy is called overconfident or underconfident


def genres(comparison: Comparison) -> Html:
    """Return the section on precision, recall and F1."""
    first = comparison.genres[0]
    tables = [
        folded(f"precision and recall of {model.name}", _genre_table(model), open_=i == 0)
        for i, model in enumerate(comparison.models)
    ]
    return section(
        "genres",
        "Genre by genre",
        _f1_table(comparison),
        element("div", tables, class_="folds"),
        paragraph(
            f"Precision: of the tracks that a model calls {first}, how many are. Recall: of the {first} tracks, how "
            "many it finds. F1 is their harmonic mean.",
            class_="note",
        ),
    )


def score_table(comparison: Comparison, caption: str, scores: np.ndarray, mean: str | None = None) -> Html:
    """Return a table of a score in [0, 1] for each genre and model.

    Args:
      comparison: of the models.
      caption: names the score.
      scores: float [genres, models]; those of genres without tracks are not shown.
      mean: title of a last row with the mean over the genres that have tracks; None for no such row.
    """
    models = comparison.models
    support = np.bincount(comparison.label, minlength=len(comparison.genres))
    turned = "turned" if len(models) > SHOWN else "number"
    head = element(
        "tr",
        element("th", "genre", scope="col"),
        element("th", "tracks", scope="col", class_="number"),
        [element("th", element("span", model.name), scope="col", class_=turned) for model in models],
    )
    rows = [
        _score_row(genre, int(tracks), found if tracks else [None] * len(models))
        for genre, tracks, found in zip(comparison.genres, support, scores.tolist(), strict=True)
    ]
    if mean:
        rows.append(_score_row(mean, int(support.sum()), scores[support > 0].mean(axis=0).tolist()))
    absent = "" if support.all() else f"; {NONE}: no test tracks"
    return fragment(heat_table(f"{caption}{absent}", "heat", head, rows), shades("to 1"))


def _score_row(name: str, tracks: int, scores: Sequence[float | None]) -> Html:
    cells = [score_cell(score) for score in scores]
    return element("tr", element("th", name, scope="row"), element("td", f"{tracks:,}", class_="number"), cells)


def _f1_table(comparison: Comparison) -> Html:
    f1 = [[model.scores["genres"][genre]["f1"] for model in comparison.models] for genre in comparison.genres]
    return score_table(comparison, "F1 by genre", np.array(f1))


def _genre_table(model: Model) -> Html:
    rows = []
    for (genre, row), answers in zip(model.scores["genres"].items(), _answers(model), strict=True):
        shown = [
            f"{row[score]:.2f}" if count else NONE
            for score, count in (("precision", answers), ("recall", row["support"]), ("f1", row["support"]))
        ]
        rows.append([genre, f"{row['support']:,}", *shown])
    columns = ("genre", "tracks", "precision", "recall", "F1")
    return table(f"Precision and recall of {model.name}", columns, rows, numbers=range(1, 5), unseen=True)


def confusions(comparison: Comparison) -> Html:
    """Return the section of confusion matrices."""
    shown = SHOWN if len(comparison.genres) <= MANY else 1
    return section(
        "confusion",
        "Which genres are confused",
        paragraph(
            "Rows are the true genres, columns the predicted ones; the last of each has the totals, and the diagonal "
            "what is right."
        ),
        shades("to 100% of the row"),
        gallery([_confusion_matrix(model) for model in comparison.models], shown, "matrices"),
        bullets(_never_answered(model) for model in comparison.models if not _answers(model).all()),
    )


def _answers(model: Model) -> np.ndarray:
    """Return how many tracks a model takes for each genre."""
    return np.sum(model.scores["confusion"], axis=0)


def _never_answered(model: Model) -> str:
    names = [genre for genre, count in zip(model.genres, _answers(model), strict=True) if not count]
    return f"{model.name} takes no test track for {', '.join(names)}."


def _confusion_matrix(model: Model) -> Html:
    names = [element("th", element("span", genre), scope="col", class_="turned") for genre in model.genres]
    rows = []
    for genre, counts in zip(model.genres, model.scores["confusion"], strict=True):
        total = sum(counts)
        cells = [
            shaded(str(number) if number else "", number / max(1, total), f"{genre} taken for {other}: {number}")
            for other, number in zip(model.genres, counts, strict=True)
        ]
        rows.append(element("tr", element("th", genre, scope="row"), cells, element("td", f"{total:,}")))
    sums = [element("td", f"{count:,}") for count in (*_answers(model), len(model.right))]
    rows.append(element("tr", element("th", "all", scope="row"), sums))
    class_ = "heat matrix dense" if len(model.genres) > MANY else "heat matrix"
    head = element("tr", element("td"), names, element("th", element("span", "all"), scope="col", class_="turned"))
    title = f"{model.name}: {int(model.right.sum()):,} of {len(model.right):,} right"
    return heat_table(title, class_, head, rows, f"confusion matrix of {model.name}")


def calibration(comparison: Comparison) -> Html:
    """Return the section on calibration: when a model says 80%, is it right in 80% of the cases?"""
    return section(
        "calibration",
        "Can its confidence be trusted",
        paragraph(
            "Each dot is a group of tracks of similar confidence, larger for more tracks. On the diagonal, confidence "
            "and accuracy agree; below it the model is overconfident."
        ),
        gallery([_reliability_diagram(model) for model in comparison.models], SHOWN, "small-multiples"),
        paragraph(
            f"Expected calibration error (Guo et al., 2017): the mean distance from the diagonal over "
            f"{CALIBRATION_BINS} groups of equal width, weighted by their tracks. 0 is perfect.",
            class_="note",
        ),
        unlike_training(comparison.models),
    )


def _calibration_verdict(model: Model) -> str:
    confidence, accuracy = float(model.confidence.mean()), float(model.right.mean())
    excess = confidence - accuracy
    verdict = "overconfident" if excess > NOTABLE else "underconfident" if -excess > NOTABLE else "well calibrated"
    return f"Mean confidence {confidence:.0%}, accuracy {accuracy:.0%}: {verdict}."


def _reliability_diagram(model: Model) -> Html:
    error, verdict = model.scores["calibration_error"], _calibration_verdict(model)
    return reliability_diagram(
        model.name, model.confidence, model.right, error=error, verdict=verdict, axis="confidence"
    )


def reliability_diagram(
    name: str, probability: np.ndarray, right: np.ndarray, *, error: float, verdict: str, axis: str
) -> Html:
    """Return a figure with a dot for each bin of the calibration error.

    Args:
      name: of the model.
      probability, right: [n], what the model said, and whether it was so.
      error: its calibration error.
      verdict: a sentence below the diagram.
      axis: what the probabilities are called.
    """
    frame = Frame(*DIAGRAM, (0.0, 1.0), (0.0, 1.0))
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    bins = _bins(probability, right)
    largest = max(number for _, _, number in bins)
    marks = []
    for said, share, number in bins:
        x, y, radius = frame.at_x(said), frame.at_y(share), 2.5 + 6 * (number / largest) ** 0.5
        marks += [
            line(frame, [(said, said), (said, share)], "miss"),
            element("circle", cx=x, cy=y, r=radius, class_="bin"),
        ]
    drawn = drawing(
        frame,
        f"reliability diagram of {name}; expected calibration error {error:.2f}. {verdict}",
        axes(frame, quarters, quarters, axis, shares=True),
        line(frame, [(0, 0), (1, 1)], "diagonal"),
        marks,
    )
    caption = element("figcaption", element("strong", name), f" calibration error {error:.2f}")
    return element("figure", caption, drawn, paragraph(verdict, class_="under"))


def _bins(probability: np.ndarray, right: np.ndarray) -> list[tuple[float, float, int]]:
    """Return (mean probability, share that is right, number) of each bin that has any; the metrics' bins."""
    which = np.clip(np.ceil(probability * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return [
        (float(probability[which == i].mean()), float(right[which == i].mean()), int((which == i).sum()))
        for i in np.unique(which)
    ]
