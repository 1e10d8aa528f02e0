"""The mistakes: which pairs of genres are confused most, on which tracks, and which tracks no model gets right."""

import shlex
from collections import Counter
from collections.abc import Mapping

import numpy as np

from trainers.report.collect import Comparison
from trainers.report.html import Content, Html, count, element, folded, paragraph, percent, section, table
from transforms.tracks import Track

PAIRS, TRACKS, HARD = 8, 5, 20
"""How many are listed: pairs of genres, tracks of each, and tracks that every model gets wrong."""

Tracks = Mapping[int, Track]  # tracks by id, as far as they are known


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


def mistakes(comparison: Comparison, tracks: Tracks, dataset: str | None) -> Html:
    """Return the section; `dataset` is its path for the command that shows more about a track."""
    if not len(named_rows(comparison)):
        return section("mistakes", "Mistakes", paragraph(f"{comparison.models[0].name} makes none on these tracks."))
    command = element("code", shlex.join(["fma", "explain", dataset or "DATASET", "TRACK_ID"]))
    return section(
        "mistakes",
        "Mistakes",
        _pairs_table(comparison, tracks),
        _hard_table(comparison, tracks),
        _tracks_table(comparison, tracks),
        paragraph("More about a track: ", command, class_="note"),
    )


def _title_and_artist(track_id: int, tracks: Tracks) -> list[str]:
    track = tracks.get(track_id)
    return [track.title, track.artist] if track else ["", ""]


def _shown_id(track_id: int, tracks: Tracks) -> str:
    track = tracks.get(track_id)
    return str(track.shown_id if track else track_id)


def name_of(track_id: int, tracks: Tracks) -> str:
    """Name a track by title and artist, such as `Moonrise, Yongen (348)`, as far as they are known."""
    words = [word for word in _title_and_artist(track_id, tracks) if word]
    shown = _shown_id(track_id, tracks)
    return f"{', '.join(words)} ({shown})" if words else f"track {shown}"


def _link(track_id: int, tracks: Tracks) -> Html:
    return element("a", name_of(track_id, tracks), href=f"#track-{track_id}")


def _pairs_table(comparison: Comparison, tracks: Tracks) -> Html:
    models, names = comparison.models, comparison.genres
    rows: list[list[Content]] = []
    for true, predicted, found in confused_pairs(comparison):
        of_genre = comparison.label == true
        others = sum(bool(((model.predicted == predicted) & of_genre).any()) for model in models)
        items = [element("li", _link(int(comparison.track_id[row]), tracks)) for row in found[:TRACKS]]
        if len(found) > TRACKS:
            items.append(element("li", f"and {len(found) - TRACKS:,} more"))
        share = percent(len(found) / int(of_genre.sum()))
        pair, listed = f"{names[true]} taken for {names[predicted]}", element("ul", items, class_="plain")
        rows.append([pair, len(found), share, f"{others} of {len(models)}", listed])
    columns = ("pair", "tracks", "of the genre", "models that do so", "the most confident mistakes first")
    return table(f"Most confused by {models[0].name}", columns, rows, numbers=(1, 2, 3))


def _hard_table(comparison: Comparison, tracks: Tracks) -> Html | None:
    rows = hard_rows(comparison)
    if not len(rows) or len(comparison.models) < 2:
        return None
    cells = []
    for row in rows[:HARD]:
        votes = Counter(comparison.genres[model.predicted[row]] for model in comparison.models)
        predicted = ", ".join(f"{genre} ({number})" for genre, number in votes.most_common())
        track = _link(int(comparison.track_id[row]), tracks)
        cells.append([track, comparison.genres[comparison.label[row]], predicted])
    caption = f"No model is right on {count(len(rows), 'track')}: worth a listen, for the label may be wrong"
    if len(rows) > HARD:
        caption += f" (the {HARD} that the models are most confident about)"
    return table(caption, ("track", "genre", "predicted (models)"), cells)


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
        name = element("span", _shown_id(track_id, tracks), id=f"track-{track_id}")
        words = _title_and_artist(track_id, tracks)
        rows.append([name, *words, comparison.genres[comparison.label[row]], *predictions])
    columns = ("track", "title", "artist", "genre", *(model.name for model in comparison.models))
    caption = "The tracks named above: what each model predicts, and its confidence"
    return folded(caption, table(caption, columns, rows, unseen=True), open_=len(rows) <= HARD)
