"""Which model is best with many genres for each track: scores, tests, calibration."""

import math
from collections.abc import Sequence

import numpy as np

from trainers.evaluation.metrics import CALIBRATION_BINS, holm
from trainers.evaluation.multilabel import interval
from trainers.report.genre_models import GenreComparison, GenreModel
from trainers.report.html import (
    Content,
    Html,
    bullets,
    count,
    element,
    gallery,
    listing,
    paragraph,
    percent,
    percents,
    section,
    table,
)
from trainers.report.leaderboard import TO_BEST, Standing, compare_to_best, describe_tracks, draw_places, to_best
from trainers.report.novelty import unlike_training
from trainers.report.scores import SHOWN, reliability_diagram

SCORES = {
    "map_micro": "mAP by pair",
    "roc_auc_macro": "ROC AUC",
    "f1_macro": "F1",
    "hierarchical_f1": "hierarchical F1",
    "lrap": "LRAP",
    "calibration_error": "calibration error",
}
"""Metrics of the table beside the mAP, and what they are called there."""

MEANING = (
    "mAP: the mean over genres of the average precision, the area under the curve of precision over recall; by pair: "
    "of all pairs of a track and a genre together. ROC AUC and F1 are means over genres, F1 at thresholds that were "
    "chosen on the validation tracks. Hierarchical F1 counts genres with all that are above them (Kiritchenko et "
    "al., 2005). LRAP (label-ranking average precision): of the genres that rank as high as a true one, the share that "
    "is true. Prior: each genre's share of the training tracks, the same for every track: what a model knows that "
    "hears nothing."
)
NOTABLE = 0.1  # a number of expected genres that is this far off, as a share, is called too high or too low


def genre_standings(comparison: GenreComparison) -> list[Standing[GenreModel]]:
    """Return every model's place, the best first, by mean average precision; the test is of the paired bootstrap."""
    best, *others = comparison.models
    first = Standing(best, best.scores["map_macro"], best.scores["interval"]["map_macro"])
    gaps = [other.resamples - best.resamples for other in others]
    tests = [_p_of(other.scores["map_macro"] - first.value, gap) for other, gap in zip(others, gaps, strict=True)]
    places = [first]
    for other, gap, p, adjusted in zip(others, gaps, tests, holm(tests), strict=True):
        value = other.scores["map_macro"]
        reach = interval(value - first.value, gap)
        places.append(Standing(other, value, other.scores["interval"]["map_macro"], reach, p, adjusted))
    return places


def _p_of(gap: float, resampled: np.ndarray) -> float:
    """Return the two-sided p-value of a difference over its bootstrapped standard error, as a standard normal."""
    error = float(resampled.std(ddof=1))
    return math.erfc(abs(gap) / error / math.sqrt(2)) if error > 0 else float(gap == 0)


def genre_verdicts(comparison: GenreComparison, places: Sequence[Standing[GenreModel]]) -> list[str]:
    """Return sentences on what the numbers mean."""
    best, prior = places[0], _prior(comparison)
    scored = len(comparison.genres) - len(best.model.scores["left_out"])
    found = [
        f"{best.model.name} {'has' if len(places) == 1 else 'is best:'} a mean average precision of "
        f"{percent(best.value)} over {count(scored, 'genre')} (95% interval {percents(*best.interval)}).",
        *compare_to_best(places),
    ]
    chance = [place.model.name for place in places if place.interval[0] <= prior]
    rest = f"{listing(chance)} may be no better than that" if chance else "every model is better"
    return [*found, f"Knowing only how common each genre is would give {percent(prior)}; {rest}."]


def _prior(comparison: GenreComparison) -> float:
    return comparison.models[0].scores["prior"]["map_macro"]


def genre_leaderboard(comparison: GenreComparison, remarks: list[str]) -> Html:
    """Return the section; `remarks` are further sentences for the summary."""
    places = genre_standings(comparison)
    lead, *rest = genre_verdicts(comparison, places)
    return section(
        "many-leaderboard",
        "Which model is best with many genres",
        paragraph(lead, class_="lead"),
        bullets([*rest, *remarks]),
        draw_places(places, _prior(comparison), "the prior: how common each genre is"),
        _numbers(comparison, places),
        paragraph(MEANING, class_="note"),
        paragraph(
            describe_tracks(comparison.track_id, comparison.runs),
            _describe_genres(comparison),
            " Intervals and differences to the best are from a paired bootstrap over tracks; p is of the difference "
            "over its bootstrapped standard error, and Holm's correction allows for testing several models. The best "
            "was picked on these very tracks, so expect a little less of it on new ones.",
            class_="note",
        ),
    )


def _describe_genres(comparison: GenreComparison) -> str:
    text = ""
    if comparison.unknown:
        text += f" Left out, since not every model knows them: {listing(comparison.unknown)}."
    if left_out := comparison.models[0].scores["left_out"]:
        text += f" Without a test track, so not in the means: {listing(left_out)}."
    return text


def _numbers(comparison: GenreComparison, places: Sequence[Standing[GenreModel]]) -> Html:
    columns = ("model", "mAP", "95% interval", *SCORES.values(), *TO_BEST, "run")
    rows: list[list[Content]] = []
    for place in places:
        scores = [_score(place.model.scores, name) for name in SCORES]
        run = element("span", place.model.run.path, class_="path")
        cells = [percent(place.value), percents(*place.interval), *scores, *to_best(place, places[0])]
        rows.append([place.model.name, *cells, run])
    prior = comparison.models[0].scores["prior"]
    guessed = [_score(prior, name) for name in SCORES]
    rows.append(["prior", percent(prior["map_macro"]), "", *guessed, "", "", "", "no model"])
    return table("Scores by track on the test split", columns, rows, numbers=range(1, 3 + len(SCORES) + len(TO_BEST)))


def _score(scores: dict, name: str) -> str:
    value = scores.get(name)
    if value is None:
        return ""
    return percent(value) if name.startswith("map") else f"{value:.3f}"


def genre_calibration(comparison: GenreComparison) -> Html:
    """Return the section on calibration: of the genres that a model gives 30%, are 30% true?"""
    return section(
        "many-calibration",
        "Can its probabilities be trusted",
        paragraph(
            "Each dot is a group of pairs of a track and a genre of similar probability, larger for more pairs. On the "
            "diagonal, the probability is the share of the pairs that are true; below it the model is too sure."
        ),
        gallery([_diagram(comparison, model) for model in comparison.models], SHOWN, "small-multiples"),
        paragraph(
            f"Calibration error: the mean distance from the diagonal over {CALIBRATION_BINS} groups of equal width, "
            "weighted by their pairs. Most pairs are of a rare genre and near 0, so it is small even for a model that "
            "is wrong about its likely genres: look at the dots.",
            class_="note",
        ),
        unlike_training(comparison.models),
    )


def _diagram(comparison: GenreComparison, model: GenreModel) -> Html:
    tracks = len(comparison.track_id)
    said, true = float(model.probabilities.sum()) / tracks, float(comparison.truth.sum()) / tracks
    verdict = "too many" if said > (1 + NOTABLE) * true else "too few" if said < (1 - NOTABLE) * true else "about right"
    return reliability_diagram(
        model.name,
        model.probabilities.ravel(),
        model.truth.ravel(),
        error=model.scores["calibration_error"],
        verdict=f"It expects {said:.1f} genres a track, and there are {true:.1f}: {verdict}.",
        axis="probability",
    )
