"""The mistakes: which pairs of genres are confused most, on which tracks, and which tracks no model gets right."""

from collections import Counter
from typing import Any

import numpy as np

from trainers.report.collect import Comparison
from trainers.report.html import Content, Html, count, element, folded, paragraph, percent, section, table

PAIRS, TRACKS, HARD = 8, 5, 20
"""Pairs of genres; tracks named for each; tracks that every model gets wrong."""


def confused_pairs(comparison: Comparison) -> list[tuple[int, int, np.ndarray]]:
    """(true genre, genre it was taken for, row numbers) by the best model, the most frequent pairs first."""
    best = comparison.models[0]
    wrong = np.flatnonzero(~best.right)
    pairs = Counter((int(comparison.label[row]), int(best.predicted[row])) for row in wrong)
    found = []
    for (true, taken), _ in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:PAIRS]:
        rows = wrong[(comparison.label[wrong] == true) & (best.predicted[wrong] == taken)]
        surest = np.argsort(-best.confidence[rows], kind="stable")
        found.append((true, taken, rows[surest]))
    return found


def hard_rows(comparison: Comparison) -> np.ndarray:
    """Row numbers of the tracks that every model gets wrong, those first that the models are surest of."""
    wrong = np.flatnonzero(~np.any([model.right for model in comparison.models], axis=0))
    confidence = np.mean([model.confidence[wrong] for model in comparison.models], axis=0)
    return wrong[np.argsort(-confidence, kind="stable")]


def named_rows(comparison: Comparison) -> np.ndarray:
    """Row numbers of all tracks that the section names, ascending."""
    rows = [rows[:TRACKS] for _, _, rows in confused_pairs(comparison)] + [hard_rows(comparison)[:HARD]]
    return np.unique(np.concatenate(rows))


def track_name(track_id: int, facts: dict[int, dict[str, Any]]) -> str:
    """Such as `Moonrise, Yongen (348)`, or the id alone where nothing else is known."""
    known = facts.get(track_id, {})
    words = [known[key] for key in ("title", "artist") if known.get(key)]
    return f"{', '.join(words)} ({track_id})" if words else f"track {track_id}"


def mistakes(comparison: Comparison, facts: dict[int, dict[str, Any]], dataset: str | None) -> Html:
    """The section.

    Args:
      comparison: the models.
      facts: ledger lines by track id, as far as they are known.
      dataset: its path, for the command that says more about a track.
    """
    best = comparison.models[0]
    if not len(named_rows(comparison)):
        return section("mistakes", "Mistakes", paragraph(f"{best.name} makes none on these tracks."))
    return section(
        "mistakes",
        "Mistakes",
        _pairs_table(comparison, facts),
        _hard_table(comparison, facts),
        _tracks_table(comparison, facts),
        paragraph(
            "More about a track: ", element("code", f"fma explain {dataset or 'DATASET'} TRACK_ID"), class_="note"
        ),
    )


def _link(track_id: int, facts: dict[int, dict[str, Any]]) -> Html:
    return element("a", track_name(track_id, facts), href=f"#track-{track_id}")


def _links(comparison: Comparison, rows: np.ndarray, facts: dict[int, dict[str, Any]]) -> list[Content]:
    items: list[Content] = [element("li", _link(int(comparison.track_id[row]), facts)) for row in rows[:TRACKS]]
    if len(rows) > TRACKS:
        items.append(element("li", f"and {len(rows) - TRACKS:,} more"))
    return [element("ul", items, class_="plain")]


def _pairs_table(comparison: Comparison, facts: dict[int, dict[str, Any]]) -> Html:
    best, names = comparison.models[0], comparison.genres
    rows: list[list[Content]] = []
    for true, taken, found in confused_pairs(comparison):
        share = len(found) / int((comparison.label == true).sum())
        shared = sum(
            bool(((model.predicted == taken) & (comparison.label == true)).any()) for model in comparison.models
        )
        pair = f"{names[true]} taken for {names[taken]}"
        models = f"{shared} of {len(comparison.models)}"
        rows.append([pair, len(found), percent(share), models, _links(comparison, found, facts)])
    columns = ("pair", "tracks", "of the genre", "models that do so", "the surest mistakes first")
    return table(f"Most confused by {best.name}", columns, rows, numbers=(1, 2, 3))


def _hard_table(comparison: Comparison, facts: dict[int, dict[str, Any]]) -> Html | None:
    rows = hard_rows(comparison)
    if not len(rows) or len(comparison.models) < 2:
        return None
    cells = []
    for row in rows[:HARD]:
        said = Counter(comparison.genres[model.predicted[row]] for model in comparison.models)
        answers = ", ".join(f"{genre} ({number})" for genre, number in said.most_common())
        cells.append([_link(int(comparison.track_id[row]), facts), comparison.genres[comparison.label[row]], answers])
    caption = f"No model is right on {count(len(rows), 'track')}: worth a listen, for the label may be wrong"
    if len(rows) > HARD:
        caption += f" (the {HARD} that the models are surest of)"
    return table(caption, ("track", "genre", "what the models say"), cells)


def _tracks_table(comparison: Comparison, facts: dict[int, dict[str, Any]]) -> Html:
    rows = []
    for row in named_rows(comparison):
        track_id = int(comparison.track_id[row])
        known = facts.get(track_id, {})
        said = [
            element(
                "span",
                f"{comparison.genres[model.predicted[row]]} {model.confidence[row]:.0%}",
                class_="right" if model.right[row] else "wrong",
            )
            for model in comparison.models
        ]
        name = element("span", str(track_id), id=f"track-{track_id}")
        words = [known.get(key, "") for key in ("title", "artist")]
        rows.append([name, *words, comparison.genres[comparison.label[row]], *said])
    columns = ("track", "title", "artist", "genre", *(model.name for model in comparison.models))
    caption = "The tracks named above, and what each model says with which confidence"
    return folded(caption, table(caption, columns, rows, unseen=True), open_=len(rows) <= HARD)
