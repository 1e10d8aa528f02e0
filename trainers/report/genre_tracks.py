"""Tracks by name: their true genres, and what each model predicts for them, along the tree."""

import numpy as np

from trainers.report.genre_confusion import EXAMPLES, worst_pairs
from trainers.report.genre_models import GenreComparison
from trainers.report.html import Content, Html, element, folded, paragraph, section, table
from trainers.report.listening import Listening, Tracks, name_of
from trainers.report.novelty import unlike_of
from transforms.runtime.invocation import command_line

HARD = 10  # tracks that surprise the models most
CERTAIN = 1e-6  # probabilities are kept so far from 0 and 1
OTHERS = 8  # genres shown that a track lacks
MODELS = 6  # shown, the best ones

SIGNS = "✓ predicted and true, + predicted but not true, − true but not predicted"


def surprising_rows(comparison: GenreComparison) -> np.ndarray:
    """Return row numbers of the tracks with the highest log loss, the mean over models, at most HARD, falling."""
    losses = np.zeros(len(comparison.track_id))
    for model in comparison.models:
        sure = np.clip(model.probabilities.astype(np.float64), CERTAIN, 1 - CERTAIN)
        losses -= np.log(np.where(comparison.truth, sure, 1 - sure)).sum(axis=1)
    return np.argsort(-losses, kind="stable")[:HARD]


def named_rows(comparison: GenreComparison) -> np.ndarray:
    """Return row numbers of all tracks that the report names, ascending."""
    examples = [rows[:EXAMPLES] for _, _, rows in worst_pairs(comparison)]
    return np.unique(np.concatenate([*examples, surprising_rows(comparison)]))


def link_to(comparison: GenreComparison, tracks: Tracks, row: int) -> Html:
    """Return a link to what `genre_tracks` shows of the track of a row."""
    track_id = int(comparison.track_id[row])
    return element("a", name_of(track_id, tracks), href=f"#genres-of-{track_id}")


def genre_tracks(comparison: GenreComparison, listening: Listening, dataset: str | None) -> Html:
    """Return the section; `dataset` is its path for the command that shows more about a track."""
    hard = surprising_rows(comparison)
    rest = [row for row in named_rows(comparison) if row not in hard]
    command = element("code", command_line("explain", dataset or "DATASET", "TRACK_ID"))
    return section(
        "many-tracks",
        "Tracks that surprise the models",
        paragraph(
            "The tracks with the highest log loss, the mean over models: worth a listen, for their genres may be "
            f"wrong. Shown are their genres, and the {OTHERS} wrong ones that are predicted with most probability."
        ),
        paragraph(SIGNS, class_="legend"),
        [_track(comparison, listening, int(row), open_=at == 0) for at, row in enumerate(hard)],
        folded("The tracks of the pairs above", [_track(comparison, listening, int(row)) for row in rest])
        if rest
        else None,
        paragraph("More about a track: ", command, class_="note"),
    )


def _track(comparison: GenreComparison, listening: Listening, row: int, *, open_: bool = False) -> Html:
    track_id, genres, models = int(comparison.track_id[row]), comparison.genres, comparison.models[:MODELS]
    truth = comparison.truth[row]
    wrong = np.max([model.probabilities[row] * (model.predicted[row] & ~truth) for model in models], axis=0)
    likely = [at for at in np.argsort(-wrong, kind="stable")[:OTHERS] if wrong[at] > 0]
    closed = set(comparison.taxonomy.close(genres[at] for at in [*np.flatnonzero(truth), *likely]))
    rows = [_genre(comparison, row, name) for name in comparison.taxonomy.walk() if name in closed]
    name = name_of(track_id, listening.tracks)
    columns = ("genre", "", *(model.name for model in models))
    drawn = table(f"Genres of {name}", columns, rows, numbers=range(2, len(columns)), unseen=True)
    own = [name for at, name in enumerate(genres) if truth[at]]
    deepest = [name for name in own if not set(comparison.taxonomy.children(name)) & set(own)]
    listed = ", ".join(comparison.path(name) for name in deepest) or "none of the genres"
    remarks = "; ".join([listed, *unlike_of(comparison.models, row)])
    title = [name, " ", element("span", remarks, class_="above")]
    sound = element("div", listening.picture(track_id), listening.player(track_id), class_="sound")
    return folded(title, element("div", sound, drawn, id=f"genres-of-{track_id}"), open_=open_)


def _genre(comparison: GenreComparison, row: int, name: str) -> list[Content]:
    at = comparison.genres.index(name)
    true = bool(comparison.truth[row, at])
    cells: list[Content] = []
    for model in comparison.models[:MODELS]:
        predicted, value = bool(model.predicted[row, at]), f"{model.probabilities[row, at]:.0%}"
        if predicted or true:
            sign, tone = ("✓", "right") if predicted and true else ("+", "wrong") if predicted else ("−", "missed")
            cells.append(element("span", f"{sign} {value}", class_=tone))
        else:
            cells.append(element("span", value, class_="above"))
    depth = len(comparison.taxonomy.line(name)) - 1
    return [element("span", name, style=f"--depth:{depth}", class_="leaf"), "true" if true else "", *cells]
