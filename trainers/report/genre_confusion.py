"""Which genres tracks have together, and which a model predicts that they do not have."""

from collections.abc import Callable

import numpy as np

from trainers.evaluation.multilabel import ancestors
from trainers.report.genre_models import Confusions, GenreComparison, GenreModel, count_both
from trainers.report.html import (
    Content,
    Html,
    element,
    fragment,
    heat_table,
    paragraph,
    percent,
    section,
    shaded,
    shades,
    table,
)

PAIRS = 10  # listed
FEWEST = 5  # tracks of a genre that rates are computed for
WIDEST = 20  # genres of a matrix; with more, the rarest are left out
LEAST = 3  # genres of a matrix; where there are fewer trees, all genres stand in it


def called_instead(comparison: GenreComparison, name: str) -> tuple[str, float] | None:
    """Return the genre that the best model predicts most in excess for one's tracks that lack it, and their share."""
    best, at = comparison.models[0], comparison.genres.index(name)
    found, excess = best.confusions, _excess(comparison, best)[at]
    other = int(excess.argmax())
    return (comparison.genres[other], found.called[at, other] / found.lacking[at, other]) if excess[other] > 0 else None


def _excess(comparison: GenreComparison, model: GenreModel) -> np.ndarray:
    """Return how many more of a genre's tracks are called another one than is usual, float [genre, other].

    0 for a genre below the first one, which is no confusion but a guess at more than is known, and for few tracks.
    """
    found = model.confusions
    below = ancestors(comparison.genres, comparison.taxonomy).T
    return np.where(below | (found.lacking < FEWEST), 0.0, found.called - found.lacking * _usual(model))


def _usual(model: GenreModel) -> np.ndarray:
    """Return the share of the tracks without a genre for which it is predicted, float [genres]."""
    wrong = model.predicted & ~model.truth
    return wrong.sum(axis=0) / np.maximum(1, (~model.truth).sum(axis=0))


def shown_genres(comparison: GenreComparison) -> list[str]:
    """Return the genres of the matrices: those at the top, or where these are few, the most common of all."""
    names = comparison.tops
    if len(names) < LEAST:
        present = [name for name in comparison.genres if comparison.support[name]]
        names = sorted(present, key=lambda name: (-comparison.support[name], name))
    return names[:WIDEST]


def genre_confusions(comparison: GenreComparison, link: Callable[[int], Html]) -> Html:
    """Return the section; `link` makes a link to a track from its row."""
    best = comparison.models[0]
    return section(
        "many-confusion",
        "What is predicted instead or in addition",
        paragraph(
            "Of the tracks that have the genre of the row and lack that of the column, the share for which "
            f"{best.name} predicts the column's. On the diagonal: of the row's tracks, the share for which it predicts "
            "the row's."
        ),
        _matrix(comparison, best),
        _pairs_table(comparison, best, link),
    )


def _matrix(comparison: GenreComparison, model: GenreModel) -> Html:
    names = shown_genres(comparison)
    at = comparison.columns(names)
    truth, predicted = comparison.truth[:, at], model.predicted[:, at]
    found = Confusions.of(truth, predicted)
    hits, support = (truth & predicted).sum(axis=0), truth.sum(axis=0)
    called, lacking = found.called.copy(), found.lacking.copy()
    np.fill_diagonal(called, hits)
    np.fill_diagonal(lacking, support)

    def title(one: int, other: int) -> str:
        number = f"{called[one, other]:,} of {lacking[one, other]:,}"
        if one == other:
            return f"{names[one]} found: {number}"
        return f"{names[one]}, not {names[other]}, but called so: {number}"

    return _shares(f"Predicted by {model.name}, in %", names, called, lacking, title)


def _shares(
    caption: str, names: list[str], counts: np.ndarray, of: np.ndarray, title: Callable[[int, int], str]
) -> Html:
    """Return a matrix of shares, in percent, of rows and columns with these names; blank where there is no track."""
    rows = []
    for one, name in enumerate(names):
        cells = []
        for other in range(len(names)):
            total = int(of[one, other])
            share = counts[one, other] / total if total else 0.0
            text = f"{100 * share:.0f}" if round(100 * share) else ""
            cells.append(shaded(text, share, title(one, other)) if total else element("td"))
        rows.append(element("tr", element("th", name, scope="row"), cells))
    heads = [element("th", element("span", name), scope="col", class_="turned") for name in names]
    return fragment(
        heat_table(caption, "heat matrix dense", element("tr", element("td"), heads), rows), shades("to 100%")
    )


def worst_pairs(comparison: GenreComparison) -> list[tuple[int, int, np.ndarray]]:
    """Return (genre, other genre, rows) of the best model's worst confusions, each with the surest mistakes first.

    The worst are those with most tracks above what is usual for the other genre. Of pairs that have the same tracks
    below one branch, that of the more common genres is taken: a confusion of sub-genres is one of their parents, too.
    """
    best = comparison.models[0]
    excess = _excess(comparison, best)
    above = ancestors(comparison.genres, comparison.taxonomy)
    pairs: list[tuple[int, int, np.ndarray]] = []
    for flat in np.argsort(-excess, axis=None, kind="stable"):
        one, other = np.unravel_index(flat, excess.shape)
        if excess[one, other] <= 0 or len(pairs) == PAIRS:
            break
        if any(_same_branch(above, one, first) and _same_branch(above, other, second) for first, second, _ in pairs):
            continue
        rows = np.flatnonzero(best.truth[:, one] & ~best.truth[:, other] & best.predicted[:, other])
        pairs.append((int(one), int(other), rows[np.argsort(-best.probabilities[rows, other], kind="stable")]))
    return pairs


def _same_branch(above: np.ndarray, one: int, other: int) -> bool:
    return bool(above[one, other] or above[other, one])


EXAMPLES = 2
"""Tracks that are named for each pair."""


def _pairs_table(comparison: GenreComparison, model: GenreModel, link: Callable[[int], Html]) -> Html | None:
    found, usual, names = model.confusions, _usual(model), comparison.genres
    rows: list[list[Content]] = []
    for one, other, tracks in worst_pairs(comparison):
        share = found.called[one, other] / found.lacking[one, other]
        items = [element("li", link(int(row))) for row in tracks[:EXAMPLES]]
        pair = fragment(
            _with_path(comparison, names[one]),
            element("span", " called ", class_="above"),
            _with_path(comparison, names[other]),
        )
        instead = f"{found.instead[one, other] / found.called[one, other]:.0%}"
        numbers = [f"{found.called[one, other]:,}", percent(share), percent(usual[other]), instead]
        rows.append([pair, *numbers, element("ul", items, class_="plain")])
    if not rows:
        return paragraph(f"{model.name} confuses no pair of genres more often than others.")
    columns = ("pair", "tracks", "share", "usual", "instead", "the surest mistakes")
    return fragment(
        table(f"Most confused by {model.name}", columns, rows, numbers=range(1, 5)),
        paragraph(
            "Share: of the first genre's tracks that lack the second. Usual: the share of all tracks without the "
            "second genre for which it is predicted. Instead: the share of the pair's tracks for which the first "
            "genre is not predicted; for the others the second one is added.",
            class_="note",
        ),
    )


def _with_path(comparison: GenreComparison, name: str) -> Html:
    above, _, own = comparison.path(name).rpartition(" › ")
    return fragment(element("span", f"{above} › ", class_="above") if above else None, own)


def genres_together(comparison: GenreComparison) -> Html:
    """Return the section on genres that tracks have together: the truth, whatever a model says."""
    names = shown_genres(comparison)
    truth = comparison.truth[:, comparison.columns(names)]
    both = count_both(truth, truth)
    of = np.repeat(np.diag(both)[:, None], len(names), axis=1)
    np.fill_diagonal(of, 0)

    def title(one: int, other: int) -> str:
        return f"{names[one]} that is also {names[other]}: {both[one, other]:,} of {of[one, other]:,}"

    return section(
        "many-together",
        "Which genres go together",
        paragraph("The truth: of the tracks of the row's genre, the share that has the column's, too."),
        _shares("Tracks that have both, in %", names, both, of, title),
        _together_table(comparison),
    )


def _together_table(comparison: GenreComparison) -> Html | None:
    """List the pairs of genres, of which neither is above the other, that go together more often than by chance."""
    both = count_both(comparison.truth, comparison.truth)
    support, tracks = np.diag(both), len(comparison.track_id)
    by_chance = np.outer(support, support) / tracks
    above = ancestors(comparison.genres, comparison.taxonomy)
    excess = np.where(np.triu(~(above | above.T)), both - by_chance, 0.0)
    rows: list[list[Content]] = []
    for flat in np.argsort(-excess, axis=None, kind="stable")[:PAIRS]:
        one, other = (int(at) for at in np.unravel_index(flat, excess.shape))
        if excess[one, other] <= 0:
            break
        pair = fragment(
            _with_path(comparison, comparison.genres[one]),
            element("span", " and ", class_="above"),
            _with_path(comparison, comparison.genres[other]),
        )
        of_one, of_other = (percent(both[one, other] / support[at]) for at in (one, other))
        rows.append(
            [pair, f"{both[one, other]:,}", of_one, of_other, f"{both[one, other] / by_chance[one, other]:.1f}"]
        )
    columns = ("pair", "tracks", "of the first", "of the second", "times chance")
    return table("Most often together", columns, rows, numbers=range(1, 5)) if rows else None
