"""The section on foreign sound: what `fma evaluate --robustness` has stored of the runs, as a table and a picture."""

from collections.abc import Sequence

from trainers.report.collect import SPLIT, Run, model_names
from trainers.report.html import (
    NONE,
    Html,
    Interval,
    count,
    element,
    gallery,
    heat_table,
    interval_chart,
    legend,
    listing,
    paragraph,
    section,
    shaded,
    shades,
)
from trainers.serving.robustness import Robustness, read_robustness
from transforms.audio.alterations import ALTERATIONS, UNCHANGED

SHOWN = 2  # models whose picture is not folded
ROBUST = 0.1  # share of changed answers up to which a sound counts as harmless


def robustness(runs: Sequence[Run]) -> Html | None:
    """Return the section; None where no model was measured."""
    stored = [read_robustness(run.path, SPLIT).get(name) for run in runs for name in run.predictions.models]
    names = model_names(runs)
    found = {name: one for name, one in zip(names, stored, strict=True) if one}
    if not found:
        return None
    without = [name for name in names if name not in found]
    return section(
        "robustness",
        "Foreign sound",
        paragraph(
            "The same test songs, as they would come from elsewhere: quieter, through a lossy codec, over the "
            "telephone. An answer has changed where it is not the one for the unchanged song, right or wrong."
        ),
        _table(found),
        shades("of the answers changed"),
        gallery([_picture(name, one) for name, one in found.items()], SHOWN, "panels"),
        legend({"best": "unchanged", "close": f"up to {ROBUST:.0%} of answers changed", "worse": "more changed"}),
        paragraph(f"Not measured: {listing(without)}.", class_="note") if without else None,
    )


def _table(found: dict[str, Robustness]) -> Html:
    names = [element("th", name, scope="col", class_="number") for name in found]
    head = element("tr", element("th", "sound", scope="col"), names)
    rows = [
        element(
            "tr", element("th", ALTERATIONS[sound].title, scope="row"), [_cell(one, sound) for one in found.values()]
        )
        for sound in ALTERATIONS
    ]
    return heat_table("Share of answers that changed · accuracy", "heat", head, rows)


def _cell(one: Robustness, sound: str) -> Html:
    scores = one.scores.get(sound)
    if scores is None:
        return element("td", NONE)
    accuracy = f"{scores['accuracy']:.0%}"
    if sound == UNCHANGED:
        return element("td", accuracy)
    return shaded(f"{scores['changed']:.0%} · {accuracy}", scores["changed"])


def _picture(name: str, one: Robustness) -> Html:
    rows = [
        Interval(ALTERATIONS[sound].title, scores["accuracy"], scores["interval"], _tone(sound, scores["changed"]))
        for sound, scores in one.scores.items()
    ]
    caption = element("figcaption", element("strong", name), f" accuracy on {count(one.tracks, 'test song')}")
    return element("figure", caption, interval_chart(rows))


def _tone(sound: str, changed: float) -> str:
    return "best" if sound == UNCHANGED else "close" if changed <= ROBUST else "worse"
