"""The first section: which model is best, how certain that is, and what follows from it in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from trainers.evaluation.metrics import difference, holm, mcnemar, wilson
from trainers.report.collect import Comparison, Model, ModelOfRun, Run
from trainers.report.html import (
    Content,
    Html,
    Interval,
    bullets,
    count,
    element,
    interval_chart,
    legend,
    listing,
    p_value,
    paragraph,
    percent,
    percents,
    points,
    section,
    table,
)
from trainers.runs.predictions import best_on_validation, validate_runs

LEVEL = 0.05  # of significance

Ranked = TypeVar("Ranked", bound=ModelOfRun)


@dataclass(frozen=True)
class Standing(Generic[Ranked]):
    """A model's place."""

    model: Ranked  # which one
    value: float  # what models are ranked by: with one label the accuracy, with many genres the mean average precision
    interval: Sequence[float]  # [low, high], 95%, of the value
    difference: Sequence[float] | None = None  # 95% interval of its value minus the best one's; None for the best
    p: float | None = None  # of a test against the best; None for the best
    adjusted: float | None = None  # the same after Holm's correction

    @property
    def worse(self) -> bool:
        """Return whether it is significantly worse than the best."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def tone(self) -> str:
        """Return its class in the style sheet."""
        return "best" if self.p is None else "worse" if self.worse else "close"


def standings(comparison: Comparison) -> list[Standing[Model]]:
    """Return every model's place, the best first; the test is McNemar's."""
    best, *others = comparison.models
    values = [
        (float(model.right.mean()), wilson(int(model.right.sum()), len(model.right))) for model in [best, *others]
    ]
    tests = [mcnemar(best.right, other.right) for other in others]
    return [Standing(best, *values[0])] + [
        Standing(other, *value, difference(other.right, best.right), p, adjusted)
        for other, value, p, adjusted in zip(others, values[1:], tests, holm(tests), strict=True)
    ]


def _majority(comparison: Comparison) -> tuple[str, float]:
    """Return the most frequent genre of the tracks and its share: the accuracy of always predicting it."""
    counts = np.bincount(comparison.label, minlength=len(comparison.genres))
    return comparison.genres[int(counts.argmax())], float(counts.max() / counts.sum())


def verdicts(comparison: Comparison, places: list[Standing[Model]]) -> list[str]:
    """Return sentences on what the numbers mean."""
    best, tracks = places[0], len(comparison.track_id)
    genre, share = _majority(comparison)
    is_best = "is right" if len(places) == 1 else "is best: right"
    found = [
        f"{best.model.name} {is_best} on {int(best.model.right.sum()):,} of {count(tracks, 'test track')}, "
        f"{percent(best.value)} (95% interval {percents(*best.interval)}).",
        *compare_to_best(places),
    ]
    chance = [place.model.name for place in places if place.interval[0] <= share]
    rest = f"{listing(chance)} may be no better than that" if chance else "every model is better"
    return [*found, f"Always answering {genre} would be right on {percent(share)}; {rest}."]


def compare_to_best(places: Sequence[Standing]) -> list[str]:
    """Return sentences on which models are worse than the best, and which may not be."""
    best, found = places[0].model.name, []
    close = [place.model.name for place in places[1:] if not place.worse]
    worse = [place.model.name for place in places[1:] if place.worse]
    if worse:
        found.append(f"Worse than {best} beyond chance: {listing(worse)}.")
    if close:
        found.append(f"These tracks are too few to tell {listing(close)} from {best}.")
    return found


def _choice(comparison: Comparison) -> list[str]:
    """Return a sentence on the model that validation vouches for most, where there is a choice."""
    chosen = validate_runs({run.path: run.config for run in comparison.runs if not run.config.folds})
    if len(comparison.models) < 2 or not chosen:
        return []
    path = best_on_validation(chosen)
    best = chosen[path]
    (model,) = (model for model in comparison.models if (model.run.path, model.key) == (path, best.model))
    size = f" of {count(best.tracks, 'track')}" if best.tracks else ""
    return [
        f"To be used: {model.name}. Its validation vouches for most, {percent(best.accuracy)}{size}; no test track has "
        f"a say in that. On these tracks it has {percent(float(model.right.mean()))}."
    ]


def describe_tracks(track_id: np.ndarray, runs: Sequence[Run]) -> str:
    """Return sentences on the tracks that the models are compared on."""
    tracks = len(track_id)
    sizes = {len(run.predictions.track_id) for run in runs}
    each = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    if sizes == {tracks}:
        said = f"Every model was scored on the same {count(tracks, 'test track')}, by track."
    else:
        said = (
            f"The runs were tested on different tracks, {each} each; here all are scored on the {tracks:,} in common."
        )
    folded = [f"{run.path} has {run.config.folds} folds" for run in runs if run.config.folds]
    how = "each track was scored by a model that knows none of its artist's"
    return f"{said} {listing(folded)}: {how}." if folded else said


def leaderboard(comparison: Comparison, remarks: list[str]) -> Html:
    """Return the section; `remarks` are further sentences for the summary."""
    places = standings(comparison)
    lead, *rest = verdicts(comparison, places)
    return section(
        "leaderboard",
        "Which model is best",
        paragraph(lead, class_="lead"),
        bullets([*_choice(comparison), *rest, *remarks]),
        _figure(comparison, places),
        _numbers(places),
        paragraph(
            describe_tracks(comparison.track_id, comparison.runs),
            " In the first two: the true genre is the likeliest or the one after it. Accuracy has Wilson's 95% "
            "interval, the difference to the best a paired bootstrap over tracks. p is "
            "McNemar's exact test against the best, on the tracks that only one of the two gets right; Holm's "
            "correction allows for testing several models. The best was picked on these very tracks, so expect "
            "a little less of it on new ones.",
            class_="note",
        ),
    )


def _figure(comparison: Comparison, places: list[Standing[Model]]) -> Html:
    genre, share = _majority(comparison)
    return draw_places(places, share, f"always {genre}")


def draw_places(places: Sequence[Standing], chance: float, chance_name: str) -> Html:
    """Draw a dot and an interval for each model, and a dashed line for what needs no model."""
    rows = [Interval(place.model.name, place.value, place.interval, place.tone) for place in places]
    keys = {"best": "the best", "close": "too close to tell", "worse": "worse beyond chance", "chance": chance_name}
    return element("figure", interval_chart(rows, chance), legend(keys))


TO_BEST = ("to the best, points", "p", "p (Holm)")
"""The columns of `to_best`."""


def to_best(place: Standing, best: Standing) -> list[Content]:
    """Return a row's cells on how a model compares to the best."""
    if place.difference is None or place.p is None or place.adjusted is None:
        return [element("span", "best", class_="tag"), "", ""]
    low, high = place.difference
    gap = f"{points(place.value - best.value)} ({points(low)} to {points(high)})"
    return [gap, p_value(place.p), p_value(place.adjusted)]


def _numbers(places: list[Standing[Model]]) -> Html:
    columns = ("model", "accuracy", "95% interval", "in the first two", "macro F1", *TO_BEST, "run")
    rows = []
    for place in places:
        macro = f"{place.model.scores['macro_f1']:.2f}"
        run = element("span", place.model.run.path, class_="path")
        top_two = percent(place.model.top_two)
        cells = [percent(place.value), percents(*place.interval), top_two, macro, *to_best(place, places[0])]
        rows.append([place.model.name, *cells, run])
    return table("Accuracy by track on the test split", columns, rows, numbers=range(1, 8))
