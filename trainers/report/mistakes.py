"""The mistakes: which pairs of genres are confused most, on which tracks, and which tracks no model gets right."""

from collections import Counter

import numpy as np

from trainers.report.collect import Comparison
from trainers.report.html import (
    Content,
    Html,
    count,
    element,
    folded,
    fragment,
    paragraph,
    percent,
    section,
    table,
)
from trainers.report.listening import Card, Listening, Tracks, shown_id
from trainers.report.novelty import unlike_of
from transforms.runtime.invocation import command_line

PAIRS, TRACKS, HARD = 8, 5, 20
"""How many are listed: pairs of genres, tracks of each, and tracks that every model gets wrong."""


def confused_pairs(comparison: Comparison) -> list[tuple[int, int, np.ndarray]]:
    """Return (true genre, predicted genre, row numbers) of the best model's mistakes, the most frequent pairs first."""
    best = comparison.models[0]
    wrong = np.flatnonzero(~best.right)
    pairs = Counter((int(comparison.label[row]), int(best.predicted[row])) for row in wrong)
    found = []
    for (true, predicted), _ in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:PAIRS]:
        rows = wrong[(comparison.label[wrong] == true) & (best.predicted[wrong] == predicted)]
        most_confident = np.argsort(-best.confidence[rows], kind="stable")
        found.append((true, predicted, rows[most_confident]))
    return found


def hard_rows(comparison: Comparison) -> np.ndarray:
    """Return row numbers of the tracks that every model gets wrong, by falling mean confidence."""
    wrong = np.flatnonzero(~np.any([model.right for model in comparison.models], axis=0))
    confidence = np.mean([model.confidence[wrong] for model in comparison.models], axis=0)
    return wrong[np.argsort(-confidence, kind="stable")]


def named_rows(comparison: Comparison) -> np.ndarray:
    """Return row numbers of all tracks that the section names, ascending."""
    rows = [rows[:TRACKS] for _, _, rows in confused_pairs(comparison)] + [hard_rows(comparison)[:HARD]]
    return np.unique(np.concatenate(rows))


def mistakes(comparison: Comparison, listening: Listening, dataset: str | None) -> Html:
    """Return the section; `dataset` is its path for the command that shows more about a track."""
    if not len(named_rows(comparison)):
        return section("mistakes", "Mistakes", paragraph(f"{comparison.models[0].name} makes none on these tracks."))
    command = element("code", command_line("explain", dataset or "DATASET", "TRACK_ID"))
    return section(
        "mistakes",
        "Mistakes",
        _pairs_table(comparison),
        listening.over_time.explanation,
        _worth_a_listen(comparison, listening),
        _confident_mistakes(comparison, listening),
        _tracks_table(comparison, listening.tracks),
        paragraph("More about a track: ", command, class_="note"),
    )


def _pair(comparison: Comparison, true: int, predicted: int) -> str:
    return f"{comparison.genres[true]} taken for {comparison.genres[predicted]}"


def _pairs_table(comparison: Comparison) -> Html:
    models = comparison.models
    rows: list[list[Content]] = []
    for true, predicted, found in confused_pairs(comparison):
        of_genre = comparison.label == true
        others = sum(bool(((model.predicted == predicted) & of_genre).any()) for model in models)
        share = percent(len(found) / int(of_genre.sum()))
        rows.append([_pair(comparison, true, predicted), len(found), share, f"{others} of {len(models)}"])
    columns = ("pair", "tracks", "of the genre", "models that do so")
    return table(f"Most confused by {models[0].name}", columns, rows, numbers=(1, 2, 3))


def _card(comparison: Comparison, row: int, *lines: Content) -> Card:
    track_id = int(comparison.track_id[row])
    return Card(track_id, f"track-{track_id}", lines)


def _worth_a_listen(comparison: Comparison, listening: Listening) -> Html | None:
    rows = hard_rows(comparison)
    if not len(rows) or len(comparison.models) < 2:
        return None
    cards = []
    for row in rows[:HARD]:
        votes = Counter(comparison.genres[model.predicted[row]] for model in comparison.models)
        predicted = ", ".join(f"{genre} ({number})" for genre, number in votes.most_common())
        label = f"labelled {comparison.genres[comparison.label[row]]}"
        unlike = unlike_of(comparison.models, row)
        cards.append(_card(comparison, row, label, f"predicted (models): {predicted}", *unlike))
    said = f"No model is right on {count(len(rows), 'track')}: the label may be wrong."
    if len(rows) > HARD:
        said += f" Here are the {HARD} that the models are most confident about."
    return fragment(element("h3", "Worth a listen"), paragraph(said), listening.cards(cards))


def _confident_mistakes(comparison: Comparison, listening: Listening) -> Html:
    """Return the tracks of each pair, the most confident mistakes first."""
    best, parts = comparison.models[0], []
    for at, (true, predicted, rows) in enumerate(confused_pairs(comparison)):
        cards = [
            _card(comparison, row, f"{best.confidence[row]:.0%} sure", *unlike_of([best], row))
            for row in rows[:TRACKS].tolist()
        ]
        shown = f", {TRACKS} of {len(rows):,}" if len(rows) > TRACKS else ""
        parts.append(folded(_pair(comparison, true, predicted) + shown, listening.cards(cards), open_=at == 0))
    return fragment(element("h3", f"The most confident mistakes of {best.name}"), parts)


def _tracks_table(comparison: Comparison, tracks: Tracks) -> Html:
    rows = []
    for row in named_rows(comparison):
        track_id = int(comparison.track_id[row])
        predictions = [
            element(
                "span",
                f"{comparison.genres[model.predicted[row]]} {model.confidence[row]:.0%}",
                class_="right" if model.right[row] else "wrong",
            )
            for model in comparison.models
        ]
        name = element("span", shown_id(track_id, tracks), id=f"track-{track_id}")
        track = tracks.get(track_id)
        words = [track.title, track.artist] if track else ["", ""]
        rows.append([name, *words, comparison.genres[comparison.label[row]], *predictions])
    columns = ("track", "title", "artist", "genre", *(model.name for model in comparison.models))
    caption = "The tracks named above: what each model predicts, and its confidence"
    return folded(caption, table(caption, columns, rows, unseen=True), open_=len(rows) <= HARD)
