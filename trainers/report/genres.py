"""By genre: precision, recall and F1 of each model, and which genres it takes for which."""

import numpy as np

from trainers.report.collect import Comparison, Model
from trainers.report.html import Html, element, folded, gallery, paragraph, scrolling, section, table

SHOWN, MANY = 6, 8
"""Confusion matrices that are shown at once, those of further models are folded; with more genres than that, one."""

DARKEST = 65
"""Percentage of the shade's colour at a share of 1: more would leave too little contrast for the text."""


def genres(comparison: Comparison) -> Html:
    """The section on precision, recall and F1."""
    return section(
        "genres",
        "Genre by genre",
        f1_table(comparison),
        element("div", [_folded_scores(model, i == 0) for i, model in enumerate(comparison.models)], class_="folds"),
        paragraph(
            f"Precision: of the tracks that a model calls {comparison.genres[0]}, how many are. Recall: of the "
            f"{comparison.genres[0]} tracks, how many it finds. F1 is their harmonic mean.",
            class_="note",
        ),
    )


def f1_table(comparison: Comparison) -> Html:
    """F1 of every genre and model, shaded."""
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
        element(
            "tr",
            element("th", genre, scope="row"),
            element("td", f"{support[i]:,}", class_="number"),
            [
                shaded(f"{model.scores['genres'][genre]['f1']:.2f}", model.scores["genres"][genre]["f1"])
                for model in models
            ],
        )
        for i, genre in enumerate(comparison.genres)
    ]
    caption = "F1 by genre; darker is better"
    drawn = element("table", element("caption", caption), element("thead", head), element("tbody", rows), class_="heat")
    return scrolling(caption, drawn)


def shaded(text: str, share: float, title: str | None = None) -> Html:
    """A table cell whose background grows with a share from 0 to 1, and on which its text can always be read."""
    return element("td", text, style=f"--share:{DARKEST * share:.0f}%", title=title)


def _folded_scores(model: Model, open_: bool) -> Html:
    return folded(f"precision and recall of {model.name}", scores_table(model), open_=open_)


def scores_table(model: Model) -> Html:
    """One model's precision, recall and F1."""
    rows = [
        [genre, f"{row['support']:,}", f"{row['precision']:.2f}", f"{row['recall']:.2f}", f"{row['f1']:.2f}"]
        for genre, row in model.scores["genres"].items()
    ]
    columns = ("genre", "tracks", "precision", "recall", "F1")
    return table(f"Precision and recall of {model.name}", columns, rows, numbers=range(1, 5), unseen=True)


def confusions(comparison: Comparison) -> Html:
    """The section of confusion matrices."""
    shown = SHOWN if len(comparison.genres) <= MANY else 1
    return section(
        "confusion",
        "What is taken for what",
        paragraph("Rows are the true genres, columns what the model says; shade is the share of the row."),
        gallery([confusion(model) for model in comparison.models], shown, "matrices"),
    )


def confusion(model: Model) -> Html:
    """One model's confusion matrix."""
    names = [element("th", element("span", genre), scope="col", class_="turned") for genre in model.genres]
    rows = []
    for genre, counts in zip(model.genres, model.scores["confusion"], strict=True):
        total = max(1, sum(counts))
        cells = [
            shaded(str(number) if number else "", number / total, f"{genre} taken for {other}: {number}")
            for other, number in zip(model.genres, counts, strict=True)
        ]
        rows.append(element("tr", element("th", genre, scope="row"), cells))
    head = element("tr", element("td"), names)
    caption = element("caption", model.name)
    drawn = element(
        "table",
        caption,
        element("thead", head),
        element("tbody", rows),
        class_="heat matrix dense" if len(model.genres) > MANY else "heat matrix",
    )
    return scrolling(f"confusion matrix of {model.name}", drawn)
