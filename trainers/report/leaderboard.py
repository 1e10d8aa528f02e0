"""The first section: which model is best, how certain that is, and what follows from it in plain words."""

from dataclasses import dataclass

import numpy as np

from trainers.evaluation.metrics import difference, holm, mcnemar, wilson
from trainers.report.collect import Comparison, Model
from trainers.report.html import (
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

LEVEL = 0.05  # of significance


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's place."""

    model: Model  # which one
    interval: tuple[float, float]  # 95%, of its accuracy
    # 95% interval of its accuracy minus the best one's; None for the best
    difference: tuple[float, float] | None = None
    p: float | None = None  # of McNemar's exact test against the best; None for the best
    adjusted: float | None = None  # the same after Holm's correction

    @property
    def accuracy(self) -> float:
        """Return the share of the tracks that it gets right."""
        return float(self.model.right.mean())

    @property
    def worse(self) -> bool:
        """Return whether it is significantly worse than the best."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def tone(self) -> str:
        """Return its class in the style sheet."""
        return "best" if self.p is None else "worse" if self.worse else "close"


def standings(comparison: Comparison) -> list[Standing]:
    """Return every model's place, the best first."""
    best, *others = comparison.models
    intervals = [wilson(int(model.right.sum()), len(model.right)) for model in comparison.models]
    tests = [mcnemar(best.right, other.right) for other in others]
    return [Standing(best, intervals[0])] + [
        Standing(other, interval, difference(other.right, best.right), p, adjusted)
        for other, interval, p, adjusted in zip(others, intervals[1:], tests, holm(tests), strict=True)
    ]


def _majority(comparison: Comparison) -> tuple[str, float]:
    """Return the most frequent genre of the tracks and its share: the accuracy of always predicting it."""
    counts = np.bincount(comparison.label, minlength=len(comparison.genres))
    return comparison.genres[int(counts.argmax())], float(counts.max() / counts.sum())


def verdicts(comparison: Comparison, places: list[Standing]) -> list[str]:
    """Return sentences on what the numbers mean."""
    best, tracks = places[0], len(comparison.track_id)
    genre, share = _majority(comparison)
    is_best = "is right" if len(places) == 1 else "is best: right"
    found = [
        f"{best.model.name} {is_best} on {int(best.model.right.sum()):,} of {count(tracks, 'test track')}, "
        f"{percent(best.accuracy)} (95% interval {percents(*best.interval)})."
    ]
    close = [place.model.name for place in places[1:] if not place.worse]
    worse = [place.model.name for place in places[1:] if place.worse]
    if worse:
        found.append(f"Worse than {best.model.name} beyond chance: {listing(worse)}.")
    if close:
        found.append(f"These tracks are too few to tell {listing(close)} from {best.model.name}.")
    chance = [place.model.name for place in places if place.interval[0] <= share]
    rest = f"{listing(chance)} may be no better than that" if chance else "every model is better"
    return [*found, f"Always answering {genre} would be right on {percent(share)}; {rest}."]


def _describe_tracks(comparison: Comparison) -> str:
    tracks = len(comparison.track_id)
    sizes = {len(run.tracks.track_id) for run in comparison.runs}
    if sizes == {tracks}:
        return f"Every model was scored on the same {count(tracks, 'test track')}, by track."
    each = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    return f"The runs were tested on different tracks, {each} each; here all are scored on the {tracks:,} in common."


def leaderboard(comparison: Comparison, remarks: list[str]) -> Html:
    """Return the section; `remarks` are further sentences for the summary."""
    places = standings(comparison)
    lead, *rest = verdicts(comparison, places)
    return section(
        "leaderboard",
        "Which model is best",
        paragraph(lead, class_="lead"),
        bullets([*rest, *remarks]),
        _figure(comparison, places),
        _numbers(places),
        paragraph(
            _describe_tracks(comparison),
            " Accuracy has Wilson's 95% interval, the difference to the best a paired bootstrap over tracks. p is "
            "McNemar's exact test against the best, on the tracks that only one of the two gets right; Holm's "
            "correction allows for testing several models. The best was picked on these very tracks, so expect "
            "a little less of it on new ones.",
            class_="note",
        ),
    )


def _figure(comparison: Comparison, places: list[Standing]) -> Html:
    genre, share = _majority(comparison)
    rows = [Interval(place.model.name, place.accuracy, place.interval, place.tone) for place in places]
    keys = {"best": "the best", "close": "too close to tell", "worse": "worse beyond chance"}
    return element("figure", interval_chart(rows, share), legend(keys | {"chance": f"always {genre}"}))


def _numbers(places: list[Standing]) -> Html:
    columns = ("model", "accuracy", "95% interval", "macro F1", "to the best, points", "p", "p (Holm)", "run")
    rows = []
    for place in places:
        to_best = [element("span", "best", class_="tag"), "", ""]
        if place.difference and place.p is not None and place.adjusted is not None:
            low, high = place.difference
            gap = points(place.accuracy - places[0].accuracy)
            to_best = [f"{gap} ({points(low)} to {points(high)})", p_value(place.p), p_value(place.adjusted)]
        macro = f"{place.model.scores['macro_f1']:.2f}"
        run = element("span", place.model.run.path, class_="path")
        rows.append([place.model.name, percent(place.accuracy), percents(*place.interval), macro, *to_best, run])
    return table("Accuracy by track on the test split", columns, rows, numbers=range(1, 7))
