"""The dataset card: what the models were trained on, what was left out, and the licences."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainers.report.collect import Run
from trainers.report.html import Content, Html, definition, element, paragraph, percent, section, table
from transforms.catalog.genres import FEWEST
from transforms.dataset.ledger import IngestedTrack, read_tracks
from transforms.dataset.manifest import Manifest
from transforms.tracks import SPLITS

LICENCES = 12  # listed; further ones are added up
UNSTATED = "not stated"
NO_TOP = "(no top genre)"


@dataclass
class Facts:
    """Sums over the ledger of tracks."""

    genres: Counter[tuple[str, str]] = field(default_factory=Counter)  # ingested tracks by (genre, split)
    subsets: Counter[tuple[str, str]] = field(default_factory=Counter)  # by (subset, split)
    licences: Counter[str] = field(default_factory=Counter)  # by licence
    seconds: float = 0.0  # of audio
    artists: set[str] = field(default_factory=set)  # distinct names
    tracks: dict[int, IngestedTrack] = field(default_factory=dict)  # the wanted tracks by id


def read_facts(dataset: str, manifest: Manifest, wanted: Collection[int]) -> Facts:
    """Read the ledger; `wanted` are the ids of the tracks that are kept.

    Raises:
      FmaError: a ledger is missing or damaged.
    """
    facts = Facts()
    for track in read_tracks(dataset, manifest):
        facts.genres[track.genre or NO_TOP, track.split] += 1
        facts.subsets[track.subset or UNSTATED, track.split] += 1
        facts.licences[track.license or UNSTATED] += 1
        facts.seconds += track.seconds
        facts.artists.add(track.artist)
        if track.track_id in wanted:
            facts.tracks[track.track_id] = track
    facts.artists.discard("")
    return facts


def dataset_card(dataset: str, manifest: Manifest, facts: Facts, runs: Sequence[Run]) -> Html:
    """Return the section."""
    totals, config, seconds = manifest.totals, manifest.config, facts.seconds
    genres = manifest.labels + [NO_TOP] * any(name == NO_TOP for name, _ in facts.genres)
    terms: dict[str, Content] = {
        "tracks": f"{totals['tracks']:,}",
        "artists": f"{len(facts.artists):,}",
        "audio": f"{seconds / 3600:,.1f} hours" if seconds >= 5400 else f"{seconds / 60:,.0f} minutes",
        "records": ", ".join(f"{count:,} {kind}" for kind, count in totals["records"].items()),
        "window": f"{config.window_seconds:.1f} s at {config.sample_rate:,} Hz",
        "digest": element("code", manifest.digest[:12], title=manifest.digest),
    }
    return section(
        "dataset",
        "The dataset",
        _compare_digests(dataset, manifest, runs),
        element("dl", [definition(name, value) for name, value in terms.items()], class_="facts"),
        _split_table("By genre", "genre", facts.genres, genres),
        _small_genres(facts.genres, manifest.labels),
        _split_table("By subset", "subset", facts.subsets, sorted({subset for subset, _ in facts.subsets})),
        element("div", _left_out(totals), _licences(facts), class_="columns"),
    )


def no_dataset_card(runs: Sequence[Run]) -> Html:
    """Return the section for runs whose dataset is gone."""
    path = runs[0].config.dataset["path"]
    return section(
        "dataset",
        "The dataset",
        paragraph(
            f"There is no dataset at {path}, where the runs had theirs. Name it with ",
            element("code", "--data DATASET"),
            " for titles, the dataset card and the leak audit.",
        ),
    )


def _compare_digests(dataset: str, manifest: Manifest, runs: Sequence[Run]) -> Html:
    path = element("span", dataset, class_="path")
    others = [run.path for run in runs if run.digest != manifest.digest]
    if not others:
        return paragraph(path, ", as it was when the models were trained.")
    return paragraph(
        path,
        f" has changed since {', '.join(others)} trained (digest {runs[0].digest[:12]} then): what follows "
        "describes the dataset of today, not the one of the training.",
        class_="warning",
    )


def _split_table(caption: str, first: str, counts: Counter[tuple[str, str]], names: list[str]) -> Html:
    totals = {name: sum(counts[name, split] for split in SPLITS) for name in names}
    largest = max(totals.values(), default=1)
    rows = [
        [name, *(f"{counts[name, split]:,}" for split in SPLITS), f"{totals[name]:,}", _bar(counts, name, largest)]
        for name in names
    ]
    by_split = [sum(counts[name, split] for name in names) for split in SPLITS]
    rows.append(["all", *(f"{number:,}" for number in by_split), f"{sum(by_split):,}", ""])
    heads = [[element("span", class_=f"swatch {split}"), split] for split in SPLITS]
    return table(caption, (first, *heads, "all", ""), rows, numbers=range(1, 5))


def _small_genres(counts: Counter[tuple[str, str]], names: list[str]) -> Content:
    """Name the genres that a held-out split has few tracks of."""
    few = {split: [name for name in names if counts[name, split] < FEWEST] for split in SPLITS[1:]}
    parts = [f"{split} of {', '.join(found)}" for split, found in few.items() if found]
    if not parts:
        return None
    return paragraph(
        f"Under {FEWEST} tracks: {'; '.join(parts)}. What was chosen or scored on them says little about these genres.",
        class_="warning",
    )


def _bar(counts: Counter[tuple[str, str]], name: str, largest: int) -> Html:
    parts, x = [], 0.0
    for split in SPLITS:
        width = 100 * counts[name, split] / max(1, largest)
        parts.append(element("rect", x=f"{x:.2f}%", width=f"{width:.2f}%", y="0", height="100%", class_=split))
        x += width
    return element("svg", parts, class_="bar", aria_hidden="true")


def _left_out(totals: dict[str, Any]) -> Html:
    rows: list[list[Content]] = [["failed", reason, f"{count:,}"] for reason, count in totals["failures"].items()]
    rows += [["skipped", reason, f"{count:,}"] for reason, count in totals["skipped"].items() if count]
    if not rows:
        return paragraph("Every track of the metadata was ingested.")
    return table("Not ingested", ("", "reason", "tracks"), rows, numbers=(2,))


def _licences(facts: Facts) -> Html:
    total = sum(facts.licences.values())
    ordered = sorted(facts.licences.items(), key=lambda item: (-item[1], item[0]))
    rows = [(name, f"{count:,}", percent(count / total)) for name, count in ordered[:LICENCES]]
    rest = sum(count for _, count in ordered[LICENCES:])
    if rest:
        rows.append((f"{len(ordered) - LICENCES} others", f"{rest:,}", percent(rest / total)))
    return table("Licences, as the metadata states them", ("licence", "tracks", ""), rows, numbers=(1, 2))
