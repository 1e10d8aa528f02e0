"""The first thing on the page: which model is best, how sure that is, and what follows from it in plain words."""

from dataclasses import dataclass

import numpy as np

from trainers.evaluation.metrics import difference, holm, mcnemar, wilson
from trainers.report.collect import Comparison, Model
from trainers.report.html import (
    Html,
    bullets,
    count,
    element,
    listing,
    p_value,
    paragraph,
    percent,
    percents,
    points,
    section,
    table,
)

LEVEL = 0.05
"""Of significance."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's place.

    Attributes:
      model: which one.
      interval: 95%, of its accuracy.
      difference: 95% interval of its accuracy minus the best one's; None for the best.
      p: of McNemar's exact test against the best; None for the best.
      adjusted: the same after Holm's correction.
    """

    model: Model
    interval: tuple[float, float]
    difference: tuple[float, float] | None = None
    p: float | None = None
    adjusted: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of the tracks that it gets right."""
        return float(self.model.right.mean())

    @property
    def worse(self) -> bool:
        """Whether it is worse than the best beyond chance."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def tone(self) -> str:
        """A class for the style sheet."""
        return "best" if self.p is None else "worse" if self.worse else "close"


def standings(comparison: Comparison) -> list[Standing]:
    """Every model's place, the best first."""
    best, *others = comparison.models
    tests = [mcnemar(best.right, other.right) for other in others]
    adjusted = holm(tests)
    return [Standing(best, interval(best))] + [
        Standing(other, interval(other), difference(other.right, best.right), p, after)
        for other, p, after in zip(others, tests, adjusted, strict=True)
    ]


def interval(model: Model) -> tuple[float, float]:
    """Wilson's 95% interval of a model's accuracy."""
    return wilson(int(model.right.sum()), len(model.right))


def majority(comparison: Comparison) -> tuple[str, float]:
    """The most frequent genre of the tracks and its share: what a model without ears would get right."""
    counts = np.bincount(comparison.label, minlength=len(comparison.genres))
    return comparison.genres[int(counts.argmax())], float(counts.max() / counts.sum())


def verdicts(comparison: Comparison, places: list[Standing]) -> list[str]:
    """Plain sentences on what the numbers say."""
    best, tracks = places[0], len(comparison.track_id)
    genre, share = majority(comparison)
    low, high = best.interval
    is_best = "is right" if len(places) == 1 else "is best: right"
    found = [
        f"{best.model.name} {is_best} on {int(best.model.right.sum()):,} of {count(tracks, 'test track')}, "
        f"{percent(best.accuracy)} (95% interval {percents(low, high)})."
    ]
    close = [place.model.name for place in places[1:] if not place.worse]
    worse = [place.model.name for place in places[1:] if place.worse]
    if worse:
        found.append(f"Worse than {best.model.name} beyond chance: {listing(worse)}.")
    if close:
        found.append(f"These tracks are too few to tell {listing(close)} from {best.model.name}.")
    blind = [place.model.name for place in places if place.interval[0] <= share]
    line = f"Always answering {genre} would be right on {percent(share)}"
    found.append(f"{line}; {listing(blind)} may be no better than that." if blind else f"{line}; every model beats it.")
    return found


def same_tracks(comparison: Comparison) -> str:
    """What every model was scored on."""
    tracks = len(comparison.track_id)
    sizes = {len(run.tracks.track_id) for run in comparison.runs}
    if sizes == {tracks}:
        return f"Every model was scored on the same {count(tracks, 'test track')}, by track."
    each = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    return f"The runs were tested on different tracks, {each} each; here all are scored on the {tracks:,} in common."


def leaderboard(comparison: Comparison, places: list[Standing], remarks: list[str]) -> Html:
    """The section.

    Args:
      comparison: the models.
      places: their places.
      remarks: further sentences for the summary.
    """
    lead, *rest = verdicts(comparison, places)
    return section(
        "leaderboard",
        "Which model is best",
        paragraph(lead, class_="lead"),
        bullets([*rest, *remarks]),
        figure(comparison, places),
        numbers(places),
        paragraph(
            same_tracks(comparison),
            " Accuracy has Wilson's 95% interval, the difference to the best a paired bootstrap over tracks. p is "
            "McNemar's exact test against the best, on the tracks that only one of the two gets right; Holm's "
            "correction allows for testing several models. The best was picked on these very tracks, so expect "
            "a little less of it on new ones.",
            class_="note",
        ),
    )


def figure(comparison: Comparison, places: list[Standing]) -> Html:
    """A dot and an interval for each model on one scale; the table below has the same numbers for screen readers."""
    genre, share = majority(comparison)
    rows = [_row(place, share) for place in places]
    ticks = [element("span", f"{tick}%", style=f"left:{tick}%") for tick in (0, 25, 50, 75, 100)]
    axis = element("div", element("span", class_="name"), element("div", ticks, class_="ticks"), class_="row axis")
    legend = paragraph(
        element("span", class_="key best"),
        "the best ",
        element("span", class_="key close"),
        "not told apart from it ",
        element("span", class_="key worse"),
        "worse beyond chance ",
        element("span", class_="key chance"),
        f"always {genre}",
        class_="legend",
    )
    return element("figure", element("div", rows, axis, class_="places", aria_hidden="true"), legend)


def _row(place: Standing, share: float) -> Html:
    low, high = (f"{100 * value:.2f}%" for value in place.interval)
    middle = f"{100 * place.accuracy:.2f}%"
    grid = [
        element("line", x1=f"{tick}%", x2=f"{tick}%", y1="0", y2="100%", class_="grid") for tick in (0, 25, 50, 75, 100)
    ]
    chance = f"{100 * share:.2f}%"
    drawn = element(
        "svg",
        grid,
        element("line", x1=chance, x2=chance, y1="0", y2="100%", class_="chance"),
        element("line", x1=low, x2=high, y1="50%", y2="50%", class_="reach"),
        element("circle", cx=middle, cy="50%", r=6, class_="dot"),
        class_=place.tone,
    )
    name = element("span", place.model.name, class_="name")
    return element("div", name, drawn, element("span", percent(place.accuracy), class_="value"), class_="row")


def numbers(places: list[Standing]) -> Html:
    """The table."""
    columns = ("model", "accuracy", "95% interval", "macro F1", "to the best, points", "p", "p (Holm)", "run")
    rows = []
    for place in places:
        to_best = [element("span", "best", class_="tag"), "", ""]
        if place.difference and place.p is not None and place.adjusted is not None:
            best = places[0]
            low, high = place.difference
            gap = points(place.accuracy - best.accuracy)
            to_best = [f"{gap} ({points(low)} to {points(high)})", p_value(place.p), p_value(place.adjusted)]
        macro = f"{place.model.scores['macro_f1']:.2f}"
        run = element("span", place.model.run.path, class_="path")
        rows.append([place.model.name, percent(place.accuracy), percents(*place.interval), macro, *to_best, run])
    return table("Accuracy by track on the test split", columns, rows, numbers=range(1, 7))
