"""Calibration: when a model says 80%, is it right in 80% of the cases?"""

import numpy as np

from trainers.evaluation.metrics import CALIBRATION_BINS
from trainers.report.collect import Comparison, Model
from trainers.report.html import Frame, Html, axes, drawing, element, gallery, line, paragraph, section

SIZE = (270.0, 250.0)
SHOWN = 6
NOTABLE = 0.05
"""Mean confidence this far from accuracy is said to be too high or too low."""


def bins(model: Model) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, tracks) of each bin of equal width that has tracks; the bins of the metrics."""
    which = np.clip(np.ceil(model.confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, None)
    return [
        (float(model.confidence[which == i].mean()), float(model.right[which == i].mean()), int((which == i).sum()))
        for i in np.unique(which)
    ]


def verdict(model: Model) -> str:
    """One sentence."""
    says, right = float(model.confidence.mean()), float(model.right.mean())
    text = f"On average it says {says:.0%} and is right on {right:.0%}"
    if says - right > NOTABLE:
        return f"{text}: overconfident."
    return f"{text}: too modest." if right - says > NOTABLE else f"{text}: about right."


def calibration(comparison: Comparison) -> Html:
    """The section."""
    return section(
        "calibration",
        "Can its confidence be trusted",
        paragraph(
            "Each dot is a group of tracks of similar confidence, larger for more tracks. On the diagonal, confidence "
            "and accuracy agree; below it the model promises too much."
        ),
        gallery([diagram(model) for model in comparison.models], SHOWN, "small-multiples"),
        paragraph(
            f"Expected calibration error (Guo et al., 2017): the mean distance from the diagonal over "
            f"{CALIBRATION_BINS} groups of equal width, weighted by their tracks. 0 is perfect.",
            class_="note",
        ),
    )


def diagram(model: Model) -> Html:
    """One model's reliability diagram."""
    frame = Frame(*SIZE, (0.0, 1.0), (0.0, 1.0))
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    largest = max(tracks for _, _, tracks in bins(model))
    error = model.scores["calibration_error"]
    marks = [
        (
            line(frame, [(says, says), (says, right)], "miss"),
            element(
                "circle", cx=frame.at_x(says), cy=frame.at_y(right), r=2.5 + 6 * (tracks / largest) ** 0.5, class_="bin"
            ),
        )
        for says, right, tracks in bins(model)
    ]
    drawn = drawing(
        frame,
        f"reliability diagram of {model.name}; expected calibration error {error:.2f}. {verdict(model)}",
        axes(frame, quarters, quarters, "confidence", shares=True),
        line(frame, [(0, 0), (1, 1)], "diagonal"),
        marks,
    )
    caption = element("figcaption", element("strong", model.name), f" calibration error {error:.2f}")
    return element("figure", caption, drawn, paragraph(verdict(model), class_="under"))
