"""The tree of genres with each one's average precision, and what stands out in it."""

from trainers.report.genre_confusion import called_instead
from trainers.report.genre_models import GenreComparison
from trainers.report.html import (
    NONE,
    Content,
    Html,
    count,
    element,
    folded,
    fragment,
    heat_table,
    legend,
    paragraph,
    percent,
    score_cell,
    section,
    shades,
    table,
)
from trainers.report.scores import SHOWN

SHOWN_ROWS = 30  # trees are open, the most common first, while they have no more rows than that together
LISTED = 8  # genres of each of the two tables
FEWEST = 5  # test tracks of a genre that can be said to work: with fewer, one lucky track is enough


def genre_tree(comparison: GenreComparison) -> Html:
    """Return the section."""
    best, scored = comparison.models[0], list(comparison.tops)
    rows, trees = 0, []
    for top in scored:
        rows += 1 + len(list(comparison.taxonomy.walk(top)))
        trees.append(_tree(comparison, top, open_=rows <= SHOWN_ROWS))
    missing = [name for name in comparison.below("") if name not in scored]
    keys = {
        "average": "average precision",
        "guess": "the genre's share of the tracks, which guessing would get",
        "child": "the genres below it, where they are folded",
    }
    return section(
        "many-tree",
        "The tree, genre by genre",
        paragraph(
            f"How well {best.name} finds each genre of the {count(len(comparison.track_id), 'test track')}, the most "
            "common first; the number after a genre is that of its tracks, those of the genres below it among them."
        ),
        legend(keys),
        element("div", trees, class_="trees"),
        paragraph(f"Without a test track: {', '.join(missing)}.") if missing else None,
        _details_table(comparison),
        _all_models(comparison) if len(comparison.models) > 1 else None,
    )


def _tree(comparison: GenreComparison, top: str, *, open_: bool) -> Html:
    below = _walk(comparison, top)
    if not below:
        return _row(comparison, top, [])
    head = element("summary", _row(comparison, top, below))
    return element("details", head, [_row(comparison, name, []) for name in below], open=open_)


def _walk(comparison: GenreComparison, name: str) -> list[str]:
    """Return all genres below one, each before its children, the most common first."""
    return [one for child in comparison.below(name) for one in (child, *_walk(comparison, child))]


def _row(comparison: GenreComparison, name: str, below: list[str]) -> Html:
    """Draw a genre; of those that are below it, dots are shown while they are folded."""
    scores = comparison.models[0].scores["per_genre"]
    precision = scores[name]["average_precision"]
    depth = len(comparison.taxonomy.line(name)) - 1
    dots = [one for one in (scores[child]["average_precision"] for child in below) if one is not None]
    return element(
        "div",
        element("span", name, class_="name", style=f"--depth:{depth}"),
        element("span", f"{comparison.support[name]:,}", class_="support"),
        _bar(precision, comparison.support[name] / len(comparison.track_id), dots),
        element("span", NONE if precision is None else f"{precision:.0%}", class_="value"),
        class_="branch",
    )


def _bar(precision: float | None, guess: float, dots: list[float]) -> Html:
    if precision is None:
        return element("span", class_="precision")
    at = f"{100 * guess:.2f}%"
    return element(
        "svg",
        [
            element("line", x1=f"{tick}%", x2=f"{tick}%", y1="0", y2="100%", class_="grid")
            for tick in (0, 25, 50, 75, 100)
        ],
        element("rect", x="0", y="25%", width=f"{100 * precision:.2f}%", height="50%", class_="average"),
        [element("circle", cx=f"{100 * dot:.2f}%", cy="50%", r=3, class_="child") for dot in dots],
        element("line", x1=at, x2=at, y1="5%", y2="95%", class_="guess"),
        class_="precision",
        aria_hidden="true",
    )


def _details_table(comparison: GenreComparison) -> Html:
    """Return the numbers of the best model for every genre, folded."""
    model, rows = comparison.models[0], []
    for name in _walk(comparison, ""):
        scores = model.scores["per_genre"][name]
        numbers = [scores[key] for key in ("average_precision", "roc_auc", "precision", "recall", "f1", "threshold")]
        shown = [NONE if number is None else f"{number:.2f}" for number in numbers]
        rows.append([comparison.path(name), f"{scores['support']:,}", *shown])
    caption = f"precision, recall and thresholds of {model.name}"
    columns = ("genre", "tracks", "average precision", "ROC AUC", "precision", "recall", "F1", "threshold")
    return folded(caption, table(caption, columns, rows, numbers=range(1, 8), unseen=True))


def _all_models(comparison: GenreComparison) -> Html:
    """Return the average precision of every genre and model, folded."""
    turned = "turned" if len(comparison.models) > SHOWN else "number"
    head = element(
        "tr",
        element("th", "genre", scope="col"),
        element("th", "tracks", scope="col", class_="number"),
        [element("th", element("span", model.name), scope="col", class_=turned) for model in comparison.models],
    )
    rows = []
    for name in _walk(comparison, ""):
        found = [model.scores["per_genre"][name]["average_precision"] for model in comparison.models]
        cells = [score_cell(value) for value in found]
        title = element("th", name, scope="row", style=f"--depth:{len(comparison.taxonomy.line(name)) - 1}")
        rows.append(element("tr", title, element("td", f"{comparison.support[name]:,}", class_="number"), cells))
    caption = "average precision by genre and model"
    return folded(caption, heat_table("Average precision by genre", "heat tree", head, rows), shades("to 1"))


def extremes(comparison: GenreComparison) -> Html:
    """Return the section on rare genres that the best model finds, and common ones that it does not."""
    best, mean = comparison.models[0], comparison.models[0].scores["map_macro"]
    scored = [(name, precision) for name, precision in _precisions(comparison) if precision is not None]
    works = [name for name, precision in scored if precision >= mean and comparison.support[name] >= FEWEST]
    fails = [name for name, precision in scored if precision < mean]
    works.sort(key=lambda name: (comparison.support[name], name))
    fails.sort(key=lambda name: (-comparison.support[name], name))
    return section(
        "many-extremes",
        "The rarest that work, the commonest that fail",
        element("div", _works(comparison, works[:LISTED]), _fails(comparison, fails[:LISTED]), class_="columns"),
        paragraph(
            f"A genre works where its average precision is at least the mean over genres of {best.name}, "
            f"{percent(mean)}, on {FEWEST} test tracks or more; it fails below that mean. Taken for: what is predicted "
            "for more of its tracks than for others, although they do not have it.",
            class_="note",
        ),
    )


def _precisions(comparison: GenreComparison) -> list[tuple[str, float | None]]:
    return [(name, found["average_precision"]) for name, found in comparison.models[0].scores["per_genre"].items()]


def _works(comparison: GenreComparison, names: list[str]) -> Html:
    if not names:
        return paragraph("No genre has enough test tracks to say that it works.")
    columns = ("genre", "tracks", "average precision", "guessing")
    return table("The rarest genres that work", columns, [_cells(comparison, name) for name in names], range(1, 4))


def _fails(comparison: GenreComparison, names: list[str]) -> Html:
    if not names:
        return paragraph("No genre fails.")
    rows: list[list[Content]] = []
    for name in names:
        other = called_instead(comparison, name)
        rows.append([*_cells(comparison, name), f"{other[0]} {other[1]:.0%}" if other else ""])
    columns = ("genre", "tracks", "average precision", "guessing", "taken for")
    return table("The commonest genres that fail", columns, rows, range(1, 4))


def _cells(comparison: GenreComparison, name: str) -> list[Content]:
    above, _, own = comparison.path(name).rpartition(" › ")
    shown = fragment(element("span", f"{above} › ", class_="above") if above else None, own)
    precision = comparison.models[0].scores["per_genre"][name]["average_precision"]
    guess = comparison.support[name] / len(comparison.track_id)
    return [shown, f"{comparison.support[name]:,}", f"{precision:.0%}", percent(guess)]
