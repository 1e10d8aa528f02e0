"""The leak audit: what stands on both sides of a split, and what a split by window would have claimed."""

from collections import Counter
from collections.abc import Sequence

from trainers.report.leakage import Claim, Leakage
from trainers.report.markup import (
    Content,
    Html,
    bullets,
    count,
    element,
    folded,
    fragment,
    listing,
    paragraph,
    percent,
    percents,
    section,
    table,
)
from transforms.dataset.leaks import Leak

KINDS = {
    "artist": ("artists", "a model may know the artist rather than the genre"),
    "album": ("albums", "a model may know the album rather than the genre"),
    "audio": ("exact copies", "the very same audio is both learned and asked"),
    "recording": ("near duplicates", "nearly the same audio is both learned and asked"),
}
SHOWN, IDS = 20, 3
"""Leaks of a kind that are listed, and track ids named for each split."""


def remark(found: Sequence[Leak]) -> str:
    """One sentence for the summary."""
    if not found:
        return "Leak audit: nothing stands on both sides of a split."
    kinds = Counter(leak.what for leak in found)
    parts = [f"{number:,} {KINDS.get(what, (what, ''))[0]}" for what, number in kinds.items()]
    return f"Leak audit: {listing(parts)} on both sides of a split: the accuracies may be too high."


def leaks(found: Sequence[Leak], leakage: Leakage | None, unsought: Sequence[str] = ()) -> Html:
    """The section.

    Args:
      found: by the audit.
      leakage: what the experiment measured, or None where it was not asked for.
      unsought: kinds of leaks that this dataset's records do not show.
    """
    told = _kinds(found, unsought)
    return section("leaks", "Leak audit", told, _lists(found), _experiment(leakage) if leakage else None)


def _kinds(found: Sequence[Leak], unsought: Sequence[str]) -> Html:
    counts = Counter(leak.what for leak in found)
    names = [*KINDS, *(what for what in counts if what not in KINDS)]
    rows: list[list[Content]] = []
    for what in names:
        name, why = KINDS.get(what, (what, ""))
        if what in unsought:
            rows.append([name, "?", "not looked for: this takes mel records, and the dataset has none"])
            continue
        state = element("span", "none", class_="right") if not counts[what] else element("span", why, class_="wrong")
        rows.append([name, f"{counts[what]:,}", state])
    return table("In more than one split", ("what", "how many", ""), rows, numbers=(1,))


def _lists(found: Sequence[Leak]) -> list[Html]:
    lists = []
    for what in dict.fromkeys(leak.what for leak in found):
        of_kind = [leak for leak in found if leak.what == what]
        lines = [_line(leak) for leak in of_kind[:SHOWN]]
        if len(of_kind) > SHOWN:
            lines.append(fragment(f"and {len(of_kind) - SHOWN:,} more (fma verify lists all)"))
        lists.append(folded(f"{len(of_kind):,} {KINDS.get(what, (what, ''))[0]}", bullets(lines)))
    return lists


def _line(leak: Leak) -> Html:
    places = []
    for split, ids in leak.where.items():
        more = f" and {len(ids) - IDS:,} more" if len(ids) > IDS else ""
        places.append(f"{split}: {', '.join(map(str, ids[:IDS]))}{more}")
    return fragment(element("strong", leak.name), f" ({'; '.join(places)})")


def _experiment(leakage: Leakage) -> Html:
    official, *others = leakage.claims
    drawn = [_row(claim) for claim in leakage.claims]
    ticks = [element("span", f"{tick}%", style=f"left:{tick}%") for tick in (0, 25, 50, 75, 100)]
    axis = element("div", element("span", class_="name"), element("div", ticks, class_="ticks"), class_="row axis")
    gain = others[-1].accuracy - official.accuracy
    return fragment(
        element("h3", "What another split would have claimed"),
        paragraph(
            f"One and the same model ({leakage.model}), trained and tested on the windows of this dataset in "
            f"{len(leakage.claims)} ways; only the way of dividing them differs."
        ),
        element("figure", element("div", drawn, axis, class_="places", aria_hidden="true")),
        _claims_table(leakage),
        paragraph(
            element("strong", f"Dividing at random by window would have claimed {_by(gain)}"),
            f": {percent(others[-1].accuracy)} instead of {percent(official.accuracy)}, by a model that is no better "
            f"for it. {percent(others[-1].known)} of its test windows come from tracks that it was trained on: it "
            "can recognise the recording, and need not hear the genre. On music that it has never heard, the first "
            "line is what to expect. This is why fma splits by track and artist, and never by window.",
        ),
        paragraph(_how(leakage), class_="note"),
    )


def _by(gain: float) -> str:
    return f"{abs(100 * gain):.1f} points {'more' if gain >= 0 else 'less'}"


def _row(claim: Claim) -> Html:
    low, high = (f"{100 * value:.2f}%" for value in claim.spread)
    grid = [
        element("line", x1=f"{tick}%", x2=f"{tick}%", y1="0", y2="100%", class_="grid") for tick in (0, 25, 50, 75, 100)
    ]
    drawn = element(
        "svg",
        grid,
        element("line", x1=low, x2=high, y1="50%", y2="50%", class_="reach"),
        element("circle", cx=f"{100 * claim.accuracy:.2f}%", cy="50%", r=6, class_="dot"),
        class_="best" if claim.repeats == 1 else "leaky",
    )
    name = element("span", claim.name, class_="name")
    return element("div", name, drawn, element("span", percent(claim.accuracy), class_="value"), class_="row")


def _claims_table(leakage: Leakage) -> Html:
    rows = [
        [
            claim.name,
            percent(claim.accuracy),
            percents(*claim.spread),
            f"{claim.training:,}",
            f"{claim.test:,}",
            percent(claim.known),
        ]
        for claim in leakage.claims
    ]
    columns = ("split", "accuracy by window", "range", "training windows", "test windows", "of known tracks")
    return table("The same model on other splits", columns, rows, numbers=range(1, 6))


def _how(leakage: Leakage) -> str:
    repeats = max(claim.repeats for claim in leakage.claims)
    text = (
        f"Features: mean and standard deviation over time of each of {leakage.bands} mel bands of a window "
        f"(from the {leakage.kind} records). The first line has a 95% interval (bootstrap over tracks); the others "
        f"are means of {repeats} random splits, with the lowest and the highest."
    )
    if leakage.tracks < leakage.of_tracks:
        text += (
            f" Measured on {count(leakage.tracks, 'track')} out of {leakage.of_tracks:,}, those of the first shards."
        )
    return text
