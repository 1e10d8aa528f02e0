"""Doubt: the test tracks that are unlike the music that a model was trained on, and how right it is on them."""

from collections.abc import Sequence

import numpy as np

from trainers.report.collect import Model, ModelOfRun
from trainers.report.html import NONE, Content, Html, element, fragment, listing, paragraph, percent, table


def unlike_training(models: Sequence[ModelOfRun]) -> Html | None:
    """Return a table of the models' tracks beyond the limit; None where no run knows it."""
    known = [model for model in models if model.unlike is not None]
    if not known:
        return None
    columns, rows = ["model", "tracks"], [_row(model) for model in known]
    if isinstance(known[0], Model):
        columns += ["accuracy on these", "on the others"]
    without = [model.name for model in models if model.unlike is None]
    return fragment(
        element("h3", "Tracks unlike the music that a model was trained on"),
        paragraph(
            "Their features lie farther from those of the training tracks than those of nearly all such music do. "
            "Of such a song, fma predict gives no verdict."
        ),
        table("Beyond the limit of novelty", columns, rows, numbers=range(1, len(columns)), unseen=True),
        paragraph(f"Without a limit: {listing(without)}.", class_="note") if without else None,
    )


def _row(model: ModelOfRun) -> list[Content]:
    unlike = model.unlike
    assert unlike is not None
    cells: list[Content] = [model.name, f"{unlike.sum():,} of {len(unlike):,}"]
    if isinstance(model, Model):
        cells += [_accuracy(model.right[unlike]), _accuracy(model.right[~unlike])]
    return cells


def _accuracy(right: np.ndarray) -> str:
    return percent(float(right.mean())) if len(right) else NONE


def unlike_of(models: Sequence[ModelOfRun], row: int) -> list[str]:
    """Return a remark on the models whose training music the track of a row is unlike; [] where there are none."""
    names = [model.name for model in models if model.unlike is not None and model.unlike[row]]
    return [f"unlike the music that {listing(names)} learned from"] if names else []
